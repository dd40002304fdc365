"""The flow with parts that misbehave. The engine is not the point here: whole servers are in tests/e2e."""

import asyncio
import itertools
import threading
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from flows import archives
from flows.archives import unpack
from flows.configuration.config import Config
from flows.database.pool import Pool
from flows.disk.durability import DurableDisk
from flows.disk.places import Place
from flows.errors import DestinationRefused, StagingFailed, Superseded, Unavailable
from flows.filesystems.local import Filesystem as LocalFilesystem
from flows.jobs.leases import Leases
from flows.lifecycle import steps
from flows.lifecycle.ending import end_of_job
from flows.lifecycle.runtime import Destination, Runtime, open_runtime
from flows.pickers import pick_first
from tests.all_jobs import AllJobs
from tests.flows.misbehaving import Picker, Scheduler, says
from tests.flows.running import new_job, run
from tests.waiting import LONG_ENOUGH

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler()


@pytest.fixture
def picker() -> Picker:
    return Picker()


@pytest.fixture
async def runtime(pool: Pool, tmp_path: Path, scheduler: Scheduler, picker: Picker) -> AsyncIterator[Runtime]:
    configured = Config.model_validate(
        {"applications": {"a": {"command_template": "true"}}, "uploads": {"max_entries": 3}}
    )
    place = Place(tmp_path / "data", tmp_path / "jobs")
    async with open_runtime(AllJobs(pool), configured, place, picker) as runtime:
        local = runtime.destinations["local"]
        runtime.destinations._destinations["local"] = Destination(scheduler, local.filesystem)
        yield runtime


async def test_all_goes_well(runtime: Runtime, scheduler: Scheduler) -> None:
    scheduler.writes = {"output": "12345"}
    job = await new_job(runtime)
    ended, state = await run(runtime, job)
    assert (ended.state, ended.reason, ended.destination) == ("ok", None, "local")
    assert state.is_completed()
    files = runtime.place.job_dir(job.id).iterdir()
    assert ended.bytes == sum(path.stat().st_size for path in files) >= 5
    assert scheduler.forgotten == [str(job.token)]
    assert not runtime.place.upload(str(job.token)).exists()


@pytest.mark.parametrize(
    ("writes", "said"),
    [
        ({"stderr.txt": "one\nwrong\n\n", "stdout.txt": "out\n"}, "; see stderr.txt, which ends with: wrong"),
        ({"stderr.txt": "", "stdout.txt": "1\nbad input\n"}, "; see stdout.txt, which ends with: bad input"),
        ({"stderr.txt": "\n", "stdout.txt": ""}, ", and stdout.txt and stderr.txt say nothing."),
        ({}, ", and stdout.txt and stderr.txt say nothing."),
        ({"stderr.txt": "\0" + "x" * 9000}, f"; see stderr.txt, which ends with: {'x' * 199}…"),
    ],
)
async def test_a_reason_says_what_the_command_said_last(
    runtime: Runtime, scheduler: Scheduler, writes: dict[str, str], said: str
) -> None:
    scheduler.writes, scheduler.returncode = writes, 3
    ended, state = await run(runtime, await new_job(runtime))
    assert (ended.state, ended.reason_kind) == ("error", "user error")
    assert ended.reason == f"The command ended with exit code 3{said}"
    assert state.message == ended.reason


async def test_files_outlive_a_power_cut_before_anybody_hears_of_them(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await new_job(runtime)
    states: list[tuple[str, list[str]]] = []

    async def sync() -> None:
        names = sorted(path.name for path in runtime.place.job_root.iterdir())
        states.append(((await runtime.jobs.get(job.id)).state, names))

    monkeypatch.setattr(runtime.disk, "sync", sync)
    ended, _ = await run(runtime, job)
    assert ended.state == "ok"
    assert states == [("new", [f".{job.id}.{job.token}"]), ("staging_out", [str(job.id)])]


async def test_cancelled_between_unpacking_and_the_command(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await new_job(runtime)
    unpacked = asyncio.Event()

    async def sync() -> None:
        unpacked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(runtime.disk, "sync", sync)
    running = asyncio.create_task(run(runtime, job))
    async with asyncio.timeout(LONG_ENOUGH):
        await unpacked.wait()
        assert list(runtime.place.job_root.iterdir()) != []
        runtime.cancelled.add(job.id)
        running.cancel()
        ended, _ = await running
    assert (ended.state, ended.reason_kind) == ("error", "cancelled")
    assert list(runtime.place.job_root.iterdir()) == []


async def test_what_the_scheduler_lost_is_submitted_again(
    runtime: Runtime, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "RESUBMISSION_DELAYS", itertools.repeat(0.0))
    scheduler.loses = 2
    job = await new_job(runtime)
    ended, state = await run(runtime, job)
    assert (ended.state, ended.scheduler_id) == ("ok", f"{job.token}-3")
    assert state.is_completed()
    assert scheduler.submitted == [str(job.token)] * 3
    assert scheduler.forgotten == [f"{job.token}-3"]


async def test_what_is_lost_again_and_again_is_submitted_less_and_less_often(
    runtime: Runtime, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    growing = list(itertools.islice(steps.RESUBMISSION_DELAYS, 12))
    assert 0 < growing[0] < growing[-1] <= 60
    monkeypatch.setattr(steps, "RESUBMISSION_DELAYS", [0.0, 0.0, 3600.0])
    scheduler.loses = 1000
    job = await new_job(runtime)
    running = asyncio.create_task(run(runtime, job))
    try:
        async with asyncio.timeout(LONG_ENOUGH):
            said = "Waiting: local lost the command before it began; it is submitted again in 3600.0 s."
            await says(runtime, job, said)
        assert (await runtime.jobs.get(job.id)).state == "queued"
        assert scheduler.submitted == [str(job.token)] * 3
    finally:
        running.cancel()
        await asyncio.wait([running])


@pytest.mark.parametrize("where", ["submit_errors", "watch_errors"])
async def test_a_job_waits_for_what_is_away_and_says_so(
    runtime: Runtime, scheduler: Scheduler, where: str
) -> None:
    getattr(scheduler, where).extend([Unavailable("The cluster does not answer.")] * 2)
    job = await new_job(runtime)
    running = asyncio.create_task(run(runtime, job))
    async with asyncio.timeout(LONG_ENOUGH):
        await says(runtime, job, "Waiting: The cluster does not answer.")
        ended, state = await running
    assert (ended.state, ended.reason) == ("ok", None)
    assert state.is_completed()
    assert scheduler.submitted == [str(job.token)]


async def test_a_job_waits_for_a_destination_that_is_not_configured(
    runtime: Runtime, scheduler: Scheduler
) -> None:
    """Its command may run there; whoever renamed it can bring it back."""
    waiting = "Waiting: The destination former is not configured any more; tell the operator."
    jobs = [await new_job(runtime), await new_job(runtime)]
    running = []
    for job in jobs:
        await runtime.jobs.set_destination(job.id, "former")
        running.append(asyncio.create_task(run(runtime, job)))
    async with asyncio.timeout(LONG_ENOUGH):
        for job in jobs:
            await says(runtime, job, waiting)
        runtime.cancelled.add(jobs[0].id)
        running[0].cancel()
        cancelled, _ = await running[0]
        runtime.destinations._destinations["former"] = runtime.destinations["local"]
        ended, _ = await running[1]
    assert (cancelled.state, cancelled.reason_kind) == ("error", "cancelled")
    assert (ended.state, ended.destination, scheduler.submitted) == ("ok", "former", [str(jobs[1].token)])


async def test_a_refusal_is_the_jobs_reason(runtime: Runtime, scheduler: Scheduler) -> None:
    scheduler.submit_errors.append(DestinationRefused("The cluster takes no such jobs."))
    ended, state = await run(runtime, await new_job(runtime))
    assert (ended.state, ended.reason_kind) == ("error", "destination")
    assert ended.reason == "The cluster takes no such jobs."
    assert state.is_failed()
    assert state.message == ended.reason


async def test_an_archive_that_cannot_be_unpacked_is_the_jobs_reason(runtime: Runtime) -> None:
    job = await new_job(runtime)
    with zipfile.ZipFile(runtime.place.upload(str(job.token)), "w") as archive:
        for number in range(4):
            archive.writestr(str(number), "")
    ended, _ = await run(runtime, job)
    assert (ended.state, ended.reason_kind, ended.bytes) == ("error", "staging", 0)
    assert ended.reason == "The archive has too many members: at most 3 are allowed."
    assert not list(runtime.place.job_root.iterdir())


async def test_a_mistake_of_ours_ends_the_job_too(runtime: Runtime, scheduler: Scheduler) -> None:
    scheduler.watch_errors.append(KeyError("secret detail"))
    job = await new_job(runtime)
    ended, state = await run(runtime, job)
    assert (ended.state, ended.reason_kind) == ("error", "internal")
    assert "secret detail" not in str(ended.reason)
    assert state.is_failed()
    assert scheduler.cancelled == [str(job.token)]  # its command must not go on for nobody


@pytest.mark.parametrize("error", [DestinationRefused("No."), RuntimeError("a bug")], ids=str)
async def test_nothing_is_said_of_a_job_that_another_worker_took_over(
    runtime: Runtime, pool: Pool, scheduler: Scheduler, error: Exception
) -> None:
    job = await new_job(runtime)
    await runtime.jobs.set_destination(job.id, "local")
    mine = AllJobs(pool, 1)  # it is not this one's

    async def end() -> None:
        async with end_of_job(job.id):
            raise error

    async with open_runtime(mine, runtime.config, runtime.place, pick_first) as own:
        own.destinations._destinations["local"] = runtime.destinations["local"]
        ending = asyncio.create_task(end())
        await asyncio.wait(
            [ending, asyncio.create_task(own.superseded.wait())], return_when="FIRST_COMPLETED"
        )
        assert own.superseded.is_set()
        assert not ending.done()  # the flow has no end that Prefect could be told
        ending.cancel()
        await asyncio.wait([ending])
    assert not scheduler.cancelled
    assert (await runtime.jobs.get(job.id)).reason is None


async def test_what_is_away_ends_no_job(runtime: Runtime, scheduler: Scheduler) -> None:
    job = await new_job(runtime)
    with pytest.raises(Unavailable):
        async with end_of_job(job.id):
            raise Unavailable("It is away.")
    assert not scheduler.cancelled
    assert not (await runtime.jobs.get(job.id)).state.is_final


async def test_a_directory_that_was_there_is_not_run_in(runtime: Runtime) -> None:
    job = await new_job(runtime)
    stale = runtime.place.job_dir(job.id)
    stale.mkdir(parents=True)
    (stale / "of another database").touch()
    ended, _ = await run(runtime, job)
    assert ended.state == "ok"
    assert [path.name for path in runtime.place.job_dir(job.id).iterdir()] == ["input"]
    [aside] = runtime.place.job_root.glob(f".{job.id}.*")
    assert [path.name for path in aside.iterdir()] == ["of another database"]


async def test_a_directory_that_was_there_is_no_part_of_a_job_that_is_refused(runtime: Runtime) -> None:
    job = await new_job(runtime)
    stale = runtime.place.job_dir(job.id)
    stale.mkdir(parents=True)
    (stale / "of another database").touch()
    runtime.place.upload(str(job.token)).write_bytes(b"rubbish")
    ended, _ = await run(runtime, job)
    assert ended.reason_kind == "staging"
    assert not stale.exists()
    [aside] = runtime.place.job_root.glob(f".{job.id}.*")
    assert [path.name for path in aside.iterdir()] == ["of another database"]


async def test_a_step_that_runs_again_leaves_alone_what_the_command_made(runtime: Runtime) -> None:
    """What its first run returned can be lost: the flow run was deleted, or the disk full."""
    job = await new_job(runtime)
    await runtime.jobs.set_destination(job.id, "local")
    job_dir = runtime.place.job_dir(job.id)
    job_dir.mkdir(parents=True)
    (job_dir / "output").touch()
    ended, _ = await run(runtime, job)
    assert ended.state == "ok"
    assert [path.name for path in job_dir.iterdir()] == ["output"]
    assert list(job_dir.parent.iterdir()) == [job_dir]


async def test_a_picker_that_fails(runtime: Runtime, picker: Picker) -> None:
    picker.error = LookupError("no idea")
    ended, _ = await run(runtime, await new_job(runtime))
    assert ended.reason == "No destination could be picked (no idea); tell the operator."


async def test_a_picker_that_picks_nothing_known(runtime: Runtime, picker: Picker) -> None:
    picker.answer = "moon"
    ended, _ = await run(runtime, await new_job(runtime))
    assert ended.reason == "The unknown destination 'moon' was picked; tell the operator."


async def test_who_wakes_in_the_middle_of_unpacking_writes_into_no_directory_of_the_next(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await new_job(runtime)
    frozen, awake, has_written = (threading.Event() for _ in range(3))

    def then_freeze(path: Path, directory: Path, *arguments: Any) -> None:
        unpack(path, directory, *arguments)
        frozen.set()
        awake.wait(LONG_ENOUGH)
        try:
            (directory / "input").write_text("")  # it goes on
        finally:
            has_written.set()

    async def then_wake() -> None:
        awake.set()
        await asyncio.to_thread(has_written.wait, LONG_ENOUGH)

    monkeypatch.setattr(archives, "unpack", then_freeze)
    first = asyncio.create_task(steps.upload(job.id))
    await asyncio.to_thread(frozen.wait, LONG_ENOUGH)
    monkeypatch.setattr(archives, "unpack", unpack)
    monkeypatch.setattr(DurableDisk, "sync", lambda _: then_wake())
    await steps.upload(job.id)
    with pytest.raises(StagingFailed):
        await first
    assert (runtime.place.job_dir(job.id) / "input").read_text() == "1"
    assert [path.name for path in runtime.place.job_root.iterdir()] == [str(job.id)]


class Elsewhere(LocalFilesystem):
    """While files are on their way there, the lease of the worker is over."""

    files_are_here = False

    def __init__(self, leases: Leases, number: int) -> None:
        self._leases, self._number = leases, number

    async def stage_in(self, job_dir: Path, token: str) -> Path:
        await self._leases.end(self._number)
        return job_dir


async def test_nothing_is_submitted_by_a_worker_whose_lease_is_over(
    runtime: Runtime, pool: Pool, scheduler: Scheduler
) -> None:
    """It was frozen, and has not found out."""
    job, leases = await new_job(runtime), Leases(pool)
    number = await leases.begin("w", "here")
    mine = AllJobs(pool, number)
    assert [claimed.id for claimed in await mine.claim()] == [job.id]
    await mine.set_destination(job.id, "local")
    async with open_runtime(mine, runtime.config, runtime.place, pick_first) as own:
        own.destinations._destinations["local"] = Destination(scheduler, Elsewhere(leases, number))
        with pytest.raises(Superseded):
            await steps.submit(job.id, "local")
    assert scheduler.submitted == []
