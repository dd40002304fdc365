"""What is special about Grid Engine, on a real one, beyond the contract of all schedulers."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from flows.batch.references import Reference
from flows.destinations.scheduler import Scheduler, Status
from flows.disk.places import Place
from flows.errors import CommandFailed, DestinationRefused, JobCancelled, TimeLimitExceeded, Unavailable
from tests.flows.gridengine.conftest import Make
from tests.flows.recorder import Recorder
from tests.flows.submitting import WAITS, run, statuses, submission
from tests.services.gridengine import RELEASE, GridEngine
from tests.waiting import LONG_ENOUGH, until

RUNS_AND_WAITS = f"echo ran >>ledger; {WAITS}"


def batch_id(scheduler_id: str) -> str:
    return Reference.parse(scheduler_id).batch_id or ""


async def reason(scheduler: Scheduler, scheduler_id: str) -> str:
    async with asyncio.timeout(LONG_ENOUGH):
        async for status in scheduler.watch(scheduler_id):
            if status.reason is not None:
                return status.reason
    raise AssertionError("it ended without a reason")


@contextmanager
def file_of_root(name: str, text: str) -> Iterator[None]:
    """A file in the home directory of the account that jobs run as."""
    file = RELEASE.path(f"/root/{name}")
    before = file.read_text() if file.exists() else None
    file.write_text(text)
    try:
        yield
    finally:
        if before is None:
            file.unlink()
        else:
            file.write_text(before)


@pytest.mark.parametrize("code", [99, 100])
async def test_codes_that_mean_something_else_to_grid_engine(
    scheduler: Scheduler, engine: GridEngine, place: Place, code: int
) -> None:
    """It would run a script that ends with 99 again, and hold one that ends with 100."""
    end, directory = await run(scheduler, place, f"echo ran >>ledger; exit {code}")
    assert end.returncode == code
    assert "root" not in engine.run("qstat", "-u", "root")
    assert (directory / "ledger").read_text() == "ran\n"


async def test_a_profile_that_prints_and_requests_in_files(
    make: Make, host: Recorder, engine: GridEngine, place: Place
) -> None:
    """Those of the account, and those that a visitor's archive brings."""
    job = submission(place, "#$ -t 1-3\necho ran >>ledger; pwd")
    for name in (".sge_request", "sge_request"):
        (job.directory / name).write_text("-t 1-3\n-h\n")
    host.before = f"cd {job.directory}\n"
    with file_of_root(".profile", "echo welcome; echo hello >&2\n"), file_of_root(".sge_request", "-h\n"):
        assert (await statuses(s := make(), await s.submit(job)))[-1] == Status(state="ended", returncode=0)
    assert (job.directory / "ledger").read_text() == "ran\n"
    assert (job.directory / "stdout.txt").read_text() == f"{job.directory}\n"
    assert (job.directory / "stderr.txt").read_text() == ""


@pytest.mark.parametrize("application", ["9 lives/x:y@*?\\", "none", "-N", "ü"])
async def test_names_that_grid_engine_refuses(make: Make, place: Place, application: str) -> None:
    job = replace(submission(place, RUNS_AND_WAITS), application=application, installation="there")
    first = await make().submit(job)
    assert await make().submit(job) == first
    assert [one for one in await make().under_way() if one.token == job.token]  # type: ignore[attr-defined]
    (job.directory / "go").touch()
    assert (await statuses(make(), first))[-1].returncode == 0
    assert (job.directory / "ledger").read_text() == "ran\n"


async def test_a_job_that_could_not_be_started_says_why_and_is_cancelled(
    make: Make, engine: GridEngine, place: Place
) -> None:
    scheduler, job = make(extra_options=["-h"]), submission(place, "true")
    scheduler_id = await scheduler.submit(job)
    assert "it is held" in await reason(scheduler, scheduler_id)
    # As where the node has no such directory.
    engine.run("qalter", "-wd", "/nonexistent", batch_id(scheduler_id))
    engine.run("qalter", "-h", "U", batch_id(scheduler_id))
    said = [""]
    async with asyncio.timeout(LONG_ENOUGH):
        while "could not start" not in said[-1]:
            said.append(await reason(make(), scheduler_id))
    assert "can't chdir to /nonexistent" in said[-1]
    await scheduler.cancel(scheduler_id)
    assert isinstance((await statuses(scheduler, scheduler_id))[-1].failure, JobCancelled)
    assert "Eqw" not in engine.run("qstat", "-u", "root")


async def test_deleted_by_somebody_at_the_cluster(
    make: Make, engine: GridEngine, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that waited is in no record; it must not be submitted again."""
    monkeypatch.setattr("flows.batch.conclusions.VISIBLE_AFTER", 0.5)
    scheduler, waits, runs = make(), submission(place, "true"), submission(place, RUNS_AND_WAITS)
    waiting, running = await make(extra_options=["-h"]).submit(waits), await scheduler.submit(runs)
    await until((runs.directory / "ledger").exists)
    engine.run("qdel", batch_id(waiting), batch_id(running))
    end = (await statuses(scheduler, waiting))[-1]
    assert isinstance(end.failure, JobCancelled)
    assert "deleted at the cluster before it began" in str(end.failure)
    assert isinstance((await statuses(scheduler, running))[-1].failure, CommandFailed)


async def test_over_its_soft_limit(make: Make, place: Place) -> None:
    end, _ = await run(make(soft_time="0:00:01"), place, "sleep 1000")
    assert isinstance(end.failure, TimeLimitExceeded)


async def test_what_a_job_may_ask_for(make: Make, place: Place) -> None:
    scheduler = make(
        queue="main.q", slots=2, parallel_environment="smp", memory="2G", resources={"mem_free": "1M"}
    )
    end, directory = await run(scheduler, place, "echo $NSLOTS; ulimit -v")
    assert end.returncode == 0
    assert (directory / "stdout.txt").read_text().split() == ["2", str(2 * 2 * 1024 * 1024)]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"queue": "nope.q"}, 'unknown queue "nope.q"'),
        ({"resources": {"nope": 1}}, 'unknown resource "nope"'),
        ({"project": "nope"}, "does not exist"),
        ({"slots": 2, "parallel_environment": "nope"}, "does not exist"),
        ({"slots": 9999, "extra_options": ["-w e"]}, "no suitable queues"),
    ],
)
async def test_refusals(make: Make, place: Place, options: dict[str, object], text: str) -> None:
    with pytest.raises(DestinationRefused, match=text):
        await make(**options).submit(submission(place, "true"))


async def test_a_submission_that_failed_and_is_in(make: Make, engine: GridEngine, place: Place) -> None:
    """qsub only warns of a user who is in no queue, tells no id, and ends with 1."""
    job = submission(place, RUNS_AND_WAITS)
    engine.run("qconf", "-au", "root", "banned")
    engine.run("qconf", "-rattr", "queue", "xuser_lists", "banned", "main.q")
    try:
        with pytest.raises(Unavailable, match="warning"):
            await make().submit(job)
    finally:
        engine.run("qconf", "-rattr", "queue", "xuser_lists", "NONE", "main.q")
    scheduler_id = await make().submit(job)
    (job.directory / "go").touch()
    assert (await statuses(make(), scheduler_id))[-1].returncode == 0
    rows = await make().under_way()  # type: ignore[attr-defined]
    assert not [row for row in rows if row.token == job.token]
    assert (job.directory / "ledger").read_text() == "ran\n"


async def test_settings_are_read_before_each_command(
    make: Make, engine: GridEngine, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "settings.sh"
    settings.write_text("".join(f"export {name}={value}\n" for name, value in engine.environment.items()))
    for name in engine.environment:
        monkeypatch.delenv(name)
    end, _ = await run(make(settings=str(settings)), place, "exit 3")
    assert end.returncode == 3


async def test_the_qmaster_and_the_execd_are_killed_and_come_back(
    scheduler: Scheduler, engine: GridEngine, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For minutes, Grid Engine may say that a job runs that ended meanwhile."""
    monkeypatch.setattr("flows.batch.scheduling.LOOK_FOR_NOTES", 2.0)
    jobs = [submission(place, f"{RUNS_AND_WAITS}; exit {code}") for code in range(3)]
    ids = [await scheduler.submit(job) for job in jobs]
    for job in jobs:
        await until((job.directory / "ledger").exists)

    async def patiently(scheduler_id: str) -> Status:
        while True:
            try:
                return (await statuses(scheduler, scheduler_id))[-1]
            except Unavailable:
                continue

    watching = [asyncio.create_task(patiently(scheduler_id)) for scheduler_id in ids]
    engine.qmaster.kill()
    try:
        (jobs[0].directory / "go").touch()  # it ends meanwhile
        with pytest.raises(Unavailable):
            await scheduler.check()
        engine.execd.kill()
    finally:
        await asyncio.to_thread(engine.qmaster.start)
        await asyncio.to_thread(engine.execd.start)
    for job in jobs:
        (job.directory / "go").touch()
    assert [end.returncode for end in await asyncio.gather(*watching)] == [0, 1, 2]
    assert [(job.directory / "ledger").read_text() for job in jobs] == ["ran\n"] * 3
