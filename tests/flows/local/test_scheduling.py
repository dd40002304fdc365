"""What those hear who wait for a command, and where the disk is waited for."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from blocks import CommandEnvironment
from flows.destinations.scheduler import Status, Submission
from flows.destinations.surroundings import Surroundings
from flows.disk.places import Place
from flows.errors import InternalError
from flows.local import kept, wrapper
from flows.local.scheduling import LocalScheduler
from flows.schedulers import eager
from flows.ssh.connections import Connections
from tests.flows.local.shortage import descriptors
from tests.flows.submitting import WAITS, statuses, submission
from tests.waiting import LONG_ENOUGH, until


@pytest.fixture
async def make(place: Place) -> AsyncIterator[Callable[..., LocalScheduler]]:
    """Make a scheduler with one slot."""
    made: list[LocalScheduler] = []

    def make(environment: str | None = None) -> LocalScheduler:
        surroundings = Surroundings(place, "here", Connections())
        made.append(LocalScheduler(surroundings, slots=1, environment=environment))
        return made[-1]

    yield make
    for scheduler in made:
        await scheduler.close()


class Seen:
    """The statuses that one who watches has seen by now."""

    def __init__(self, scheduler: LocalScheduler, scheduler_id: str) -> None:
        self.all: list[Status] = []
        self.task = asyncio.create_task(self._watch(scheduler, scheduler_id))

    async def _watch(self, scheduler: LocalScheduler, scheduler_id: str) -> None:
        async for status in scheduler.watch(scheduler_id):
            self.all.append(status)

    async def reason(self) -> str:
        await until(lambda: self.all[-1:] != [] and self.all[-1].reason is not None)
        return str(self.all[-1].reason)

    async def ended(self) -> Status:
        async with asyncio.timeout(LONG_ENOUGH):
            await self.task
        return self.all[-1]


async def test_who_waits_for_a_slot_reads_that(make: Callable[..., LocalScheduler], place: Place) -> None:
    scheduler, first, second = make(), submission(place, WAITS), submission(place, "exit 3")
    runs = Seen(scheduler, await scheduler.submit(first))
    await until((first.directory / "ready").exists)
    waits = Seen(scheduler, await scheduler.submit(second))
    assert "all slots of the destination are taken" in await waits.reason()
    (first.directory / "go").touch()
    assert await waits.ended() == Status(state="ended", returncode=3)
    assert (await runs.ended()).returncode == 0
    assert all(status.reason is None for status in runs.all)  # it did not wait


async def test_who_waits_for_a_busy_machine_reads_that(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    load = 1000.0
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0))
    config = eager.Scheduler.Config(max_load=1.0)
    scheduler = eager.Scheduler(config, Surroundings(place, "here", Connections()))
    seen = Seen(scheduler, await scheduler.submit(submission(place, "exit 3")))
    try:
        assert await seen.reason() == "Waiting until the machine is less busy."
        load = 0.0
        assert await seen.ended() == Status(state="ended", returncode=3)
    finally:
        await scheduler.close()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError("Prefect is away"), "cannot be read now."),
        (RuntimeError("whatever its client raises"), "cannot be read now."),
        (ValueError("no such block"), "cannot be used; tell the operator."),
    ],
    ids=str,
)
async def test_who_waits_reads_that_the_block_is_missing(
    make: Callable[..., LocalScheduler],
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    said: str,
) -> None:
    saved = False

    async def read(name: str) -> dict[str, str]:
        if not saved:
            raise error
        return {"LICENCE": "3"}

    monkeypatch.setattr(CommandEnvironment, "read", staticmethod(read))
    scheduler, job = make("licences"), submission(place, "exit $LICENCE")
    seen = Seen(scheduler, await scheduler.submit(job))
    assert await seen.reason() == f"Waiting: The block licences with the commands' variables {said}"
    assert {status.state for status in seen.all} == {"queued"}
    saved = True
    assert await seen.ended() == Status(state="ended", returncode=3)


async def test_who_waits_reads_that_the_machine_is_short_of_something(
    make: Callable[..., LocalScheduler], place: Place
) -> None:
    scheduler, job = make(), submission(place, "exit 3")
    await scheduler.submit(job)
    with descriptors(0):
        seen = Seen(scheduler, job.token)
        said = "Waiting: The machine cannot start the command now (Too many open files)."
        assert await seen.reason() == said
    assert await seen.ended() == Status(state="ended", returncode=3)
    assert all(status.reason is None for status in seen.all if status.state != "queued")


async def test_a_machine_without_threads_starts_the_command_later(
    make: Callable[..., LocalScheduler], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler, job = make(), submission(place, "echo ran >>ledger; exit 3")
    there, tries = threading.Thread.start, 0

    def start(thread: threading.Thread) -> None:
        nonlocal tries
        tries += 1
        if tries <= 2:
            raise RuntimeError("can't start new thread")
        there(thread)

    scheduler_id = await scheduler.submit(job)
    monkeypatch.setattr(asyncio.get_running_loop(), "_default_executor", None)  # it has none yet
    monkeypatch.setattr(threading.Thread, "start", start)
    seen = Seen(scheduler, scheduler_id)
    assert await seen.ended() == Status(state="ended", returncode=3)
    assert tries > 2
    assert (job.directory / "ledger").read_text() == "ran\n"


@pytest.mark.parametrize("part", ["read", "start"])
async def test_a_mistake_of_ours_ends_the_command_at_once_and_frees_its_slot(
    make: Callable[..., LocalScheduler], place: Place, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    scheduler, job, next_job = make(), submission(place, "true"), submission(place, "exit 3")

    def mistaken(*arguments: object) -> None:
        raise TypeError("a secret detail")

    await scheduler.submit(job)
    monkeypatch.setattr(*((kept, "read") if part == "read" else (wrapper, "start")), mistaken)
    end = (await statuses(scheduler, job.token))[-1]
    assert isinstance(end.failure, InternalError)
    assert "secret" not in str(end.failure)
    assert not (job.directory / "stdout.txt").exists()
    monkeypatch.undo()
    await scheduler.submit(next_job)
    assert (await statuses(scheduler, next_job.token))[-1].returncode == 3


class DiskCalls:
    """Those that this thread makes below a directory while it is told to look."""

    def __init__(self) -> None:
        self.below = ""
        self.calls: list[tuple[str, str]] = []
        self._thread = threading.get_ident()
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if (
            self.below
            and threading.get_ident() == self._thread
            and event.startswith(("open", "os.", "shutil."))
        ):
            names = [str(argument) for argument in arguments[:2] if isinstance(argument, str | Path)]
            if any(name.startswith(self.below) for name in names):
                self.calls.append((event, names[0]))


async def life(make: Callable[..., LocalScheduler], place: Place) -> None:
    """Let commands start, wait, go on in another process, be cancelled and forgotten."""
    first, jobs = make(), [submission(place, f"{WAITS}; exit 3") for _ in range(3)]
    for job in jobs:
        await first.submit(job)
    await asyncio.to_thread(_until_exists, jobs[0])
    await first.close()
    second = make()
    seen = [Seen(second, job.token) for job in jobs]
    await second.cancel(jobs[1].token)
    await asyncio.to_thread((jobs[0].directory / "go").touch)
    assert (await seen[0].ended()).returncode == 3
    await seen[1].ended()
    await asyncio.to_thread(_until_exists, jobs[2])
    await second.cancel(jobs[2].token)
    await seen[2].ended()
    for job in jobs:
        await second.forget(job.token)


def _until_exists(job: Submission) -> None:
    async def wait() -> None:
        await until((job.directory / "ready").exists)

    asyncio.run(wait())


async def test_the_loop_waits_for_no_disk(make: Callable[..., LocalScheduler], place: Place) -> None:
    calls = DiskCalls()
    calls.below = str(place.data_dir)
    await life(make, place)
    calls.below = ""
    assert calls.calls == []
