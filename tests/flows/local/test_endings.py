"""Commands on this machine that are ended: all of their processes have time to clean up, and none is left."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from flows.destinations.scheduler import Submission
from flows.destinations.surroundings import Surroundings
from flows.disk.places import Place
from flows.errors import CommandFailed, JobCancelled, TimeLimitExceeded, Unavailable
from flows.local import processes
from flows.local.commands import LocalCommands
from flows.local.environment import MARK
from flows.local.processes import end_session
from flows.local.scheduling import LocalScheduler
from flows.ssh.connections import Connections
from tests.flows.local.shortage import descriptors
from tests.flows.submitting import CLEANS_UP, GOES_ON, WAITS, has_ended, statuses, submission
from tests.waiting import LONG_ENOUGH, until


@pytest.fixture
async def make(place: Place) -> AsyncIterator[Callable[..., LocalScheduler]]:
    """Make a scheduler; made twice, the second is what another process would have."""
    made: list[LocalScheduler] = []

    def make(time_limit: float | None = None) -> LocalScheduler:
        made.append(
            LocalScheduler(Surroundings(place, "here", Connections()), slots=3, time_limit=time_limit)
        )
        return made[-1]

    yield make
    for scheduler in made:
        await scheduler.close()


def running(job: Submission) -> list[int]:
    """Return the processes with the variable that marks the command's."""
    return [pid for pid in _marked(f"{MARK}={job.token}".encode()) if not has_ended(pid)]


def _marked(mark: bytes) -> Iterator[int]:
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in environment.read_bytes().split(b"\0"):
                yield int(environment.parent.name)


def kill_wrapper(place: Place, job: Submission) -> None:
    process = place.commands / "here" / job.token / "process"
    os.kill(int(process.read_text().split()[0]), signal.SIGKILL)


async def started(scheduler: LocalScheduler, place: Place, command: str) -> tuple[Submission, str]:
    job = submission(place, command)
    scheduler_id = await scheduler.submit(job)
    await until((job.directory / "ready").exists)
    return job, scheduler_id


@pytest.mark.parametrize(
    "command", [f"{CLEANS_UP}; echo >wrong", f"setsid {CLEANS_UP}", f"{CLEANS_UP} & wait"]
)
async def test_all_of_a_command_have_time_to_clean_up(
    make: Callable[..., LocalScheduler], place: Place, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "TERMINATION_GRACE", 600.0)
    scheduler = make()
    job, scheduler_id = await started(scheduler, place, command)
    watching = asyncio.create_task(statuses(scheduler, scheduler_id))
    async with asyncio.timeout(LONG_ENOUGH):  # not longer than needed
        await scheduler.cancel(scheduler_id)
    assert (job.directory / "cleaned.txt").read_text() == "cleaned\n"
    assert not (job.directory / "wrong").exists()
    assert not running(job)
    assert isinstance((await watching)[-1].failure, JobCancelled)


async def test_who_watches_a_command_that_is_forgotten_hears_of_it(
    make: Callable[..., LocalScheduler], place: Place
) -> None:
    """As when the job's row was removed by hand: nobody waits for ever."""
    scheduler = make()
    commands = [await started(scheduler, place, "touch ready; exec sleep 1000") for _ in range(3)]
    queued = await scheduler.submit(submission(place, "true"))
    ids = [*(scheduler_id for _, scheduler_id in commands), queued]
    watching = [asyncio.create_task(statuses(scheduler, scheduler_id)) for scheduler_id in ids]
    await asyncio.sleep(0)
    await scheduler.forget(queued)
    for job, scheduler_id in commands:
        await scheduler.forget(scheduler_id)
        for pid in running(job):
            os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(LONG_ENOUGH):
        ended = [(await task)[-1] for task in watching]
    assert [isinstance(status.failure, CommandFailed) for status in ended] == [True] * 4


async def test_a_time_limit_leaves_time_to_clean_up(
    make: Callable[..., LocalScheduler], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "TERMINATION_GRACE", 600.0)
    first = make(time_limit=1000)
    job, scheduler_id = await started(first, place, CLEANS_UP)
    await first.close()
    os.utime(place.commands / "here" / job.token / "started", (0, 0))
    end = (await statuses(make(time_limit=1000), scheduler_id))[-1]
    assert isinstance(end.failure, TimeLimitExceeded)
    assert (job.directory / "cleaned.txt").read_text() == "cleaned\n"
    await until(lambda: not running(job))


async def test_who_takes_longer_is_killed(
    make: Callable[..., LocalScheduler], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "TERMINATION_GRACE", 0.2)
    scheduler = make()
    job, scheduler_id = await started(scheduler, place, GOES_ON)
    await scheduler.cancel(scheduler_id)
    assert not running(job)
    assert isinstance((await statuses(scheduler, scheduler_id))[-1].failure, JobCancelled)


async def test_the_next_ends_what_was_interrupted(
    make: Callable[..., LocalScheduler], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "TERMINATION_GRACE", 600.0)
    first = make()
    job, scheduler_id = await started(first, place, GOES_ON)
    ending = asyncio.create_task(first.cancel(scheduler_id))
    await until((job.directory / "told").exists)
    ending.cancel()
    await asyncio.gather(ending, return_exceptions=True)
    await first.close()
    assert running(job)
    monkeypatch.setattr(processes, "TERMINATION_GRACE", 0.2)
    second = make()
    await second.cancel(scheduler_id)
    assert not running(job)
    assert isinstance((await statuses(second, scheduler_id))[-1].failure, JobCancelled)


async def test_nothing_outlives_a_killed_wrapper(
    make: Callable[..., LocalScheduler],
    place: Place,
    bystander: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "TERMINATION_GRACE", 0.2)
    scheduler = make()
    job, scheduler_id = await started(scheduler, place, f"setsid {GOES_ON} & {GOES_ON}")
    watching = asyncio.create_task(statuses(scheduler, scheduler_id))
    kill_wrapper(place, job)
    end = (await watching)[-1]
    assert not running(job)
    assert (end.returncode, str(end.failure)) == (
        None,
        "The command was killed before it could end by itself.",
    )
    assert isinstance(end.failure, CommandFailed)
    assert bystander.poll() is None


async def test_what_an_interrupted_end_left_is_ended_before_the_end_is_told(
    make: Callable[..., LocalScheduler], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "TERMINATION_GRACE", 600.0)
    first = make(time_limit=1000)
    job, scheduler_id = await started(first, place, f"{GOES_ON} & wait")
    await first.close()
    os.utime(place.commands / "here" / job.token / "started", (0, 0))
    second = make(time_limit=1000)
    watching = asyncio.create_task(statuses(second, scheduler_id))
    await until((job.directory / "told").exists)
    watching.cancel()
    await second.close()
    kill_wrapper(place, job)  # which would wait a minute for its end
    monkeypatch.setattr(processes, "TERMINATION_GRACE", 0.2)
    end = (await statuses(make(), scheduler_id))[-1]
    assert not running(job)
    assert isinstance(end.failure, TimeLimitExceeded)


async def test_a_command_that_cannot_be_followed_now_is_not_given_up(
    make: Callable[..., LocalScheduler], place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    first = make()
    job, scheduler_id = await started(first, place, f"{WAITS}; exit 4")
    await first.close()
    second = make()
    with descriptors(0), pytest.raises(Unavailable):
        await statuses(second, scheduler_id)
    await second.submit(job)  # takes over what there is, and lets no task run
    with descriptors(0):
        watching = asyncio.create_task(statuses(second, scheduler_id))
        await until(lambda: f"Cannot follow command {job.token} now" in caplog.text)
    (job.directory / "go").touch()
    assert (await watching)[-1].returncode == 4


@pytest.mark.parametrize("left", [0, 1])
async def test_processes_that_cannot_be_looked_at_are_not_taken_for_ended(
    make: Callable[..., LocalScheduler], place: Place, left: int
) -> None:
    job, _ = await started(make(), place, GOES_ON)
    with descriptors(left), pytest.raises(OSError, match="Too many open files"):
        await end_session(None, f"{MARK}={job.token}")
    assert running(job)


async def test_a_session_whose_number_is_somebody_elses_by_now(bystander: subprocess.Popen[bytes]) -> None:
    await end_session((bystander.pid, 1), f"{MARK}=none")
    assert bystander.poll() is None


async def test_a_time_limit_is_tried_until_it_works(
    make: Callable[..., LocalScheduler], place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    first = make(time_limit=1000)
    job, scheduler_id = await started(first, place, CLEANS_UP)
    await first.close()
    os.utime(place.commands / "here" / job.token / "started", (0, 0))
    second = make(time_limit=1000)
    await second.submit(job)  # takes over what there is, and lets no task run
    with descriptors(0):
        watching = asyncio.create_task(statuses(second, scheduler_id))
        await until(lambda: f"Cannot end command {job.token} now" in caplog.text)
    assert isinstance((await watching)[-1].failure, TimeLimitExceeded)
    assert (job.directory / "cleaned.txt").exists()
    assert not running(job)


async def test_a_cancellation_that_cannot_be_done_now_is_to_be_tried_again(
    make: Callable[..., LocalScheduler], place: Place
) -> None:
    scheduler = make()
    job, scheduler_id = await started(scheduler, place, WAITS)
    with descriptors(0), pytest.raises(Unavailable, match="Too many open files"):
        await scheduler.cancel(scheduler_id)
    await scheduler.cancel(scheduler_id)
    assert not running(job)


@pytest.mark.parametrize("room", ["", "no room", "nothing"])
async def test_commands_of_earlier_versions_end_on_a_full_disk(
    make: Callable[..., LocalScheduler], place: Place, room: str
) -> None:
    first = make(time_limit=1000)
    job, scheduler_id = await started(first, place, WAITS)
    await first.close()
    directory = place.commands / "here" / job.token
    (directory / "room" / "failure").unlink()
    if room == "no room":
        (directory / "room" / "failure").symlink_to("/dev/full")
    if room == "nothing":
        (directory / "room" / "returncode").unlink()
        (directory / "room").rmdir()
    os.utime(directory / "started", (0, 0))
    end = (await statuses(make(time_limit=1000), scheduler_id))[-1]
    assert isinstance(end.failure, TimeLimitExceeded)
    assert not running(job)


@pytest.mark.parametrize(
    ("command", "returncode", "reason"),
    [
        (f"{WAITS}; exit 3", 3, None),
        (f"{WAITS}; kill -9 $PPID", None, "The command was ended, and the disk had no room for the reason."),
    ],
)
async def test_an_empty_reason_of_an_earlier_version(
    make: Callable[..., LocalScheduler],
    place: Place,
    command: str,
    returncode: int | None,
    reason: str | None,
) -> None:
    scheduler = make()
    job, scheduler_id = await started(scheduler, place, command)
    (job.directory / "go").touch()
    if returncode is not None:
        await statuses(scheduler, scheduler_id)
    (place.commands / "here" / job.token / "failure").touch()
    end = (await statuses(make(), scheduler_id))[-1]
    assert (end.returncode, end.failure and str(end.failure)) == (returncode, reason)


async def test_a_long_reason_is_cut(make: Callable[..., LocalScheduler], place: Place) -> None:
    job = submission(place, "true")
    commands = LocalCommands(place.commands / "here")
    commands.add(job)
    kept = (place.commands / "here" / job.token / "room" / "failure").stat()
    await commands.end(job.token, CommandFailed("\N{SNOWMAN}" * 1000))
    failure = place.commands / "here" / job.token / "failure"
    assert (failure.stat().st_ino, failure.stat().st_size) == (kept.st_ino, kept.st_size)
    end = (await statuses(make(), job.token))[-1]
    assert isinstance(end.failure, CommandFailed)
    assert set(str(end.failure)) == {"\N{SNOWMAN}"}


async def test_a_queued_command_whose_end_was_interrupted_never_starts(place: Place) -> None:
    job = submission(place, "echo ran >ledger")
    commands = LocalCommands(place.commands / "here")
    commands.add(job)
    (place.commands / "here" / job.token / "failure").write_text("cancelled\nThe job was cancelled.")
    await commands.launch(job.token, {})
    end = await commands.wait(job.token)
    assert isinstance(end.failure, JobCancelled)
    assert not (job.directory / "ledger").exists()
