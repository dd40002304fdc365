"""Commands on a machine that was restarted, with whatever a power cut left of their files."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from flows.destinations.scheduler import Status, Submission
from flows.destinations.surroundings import Surroundings
from flows.disk import durability
from flows.disk.places import Place
from flows.errors import DestinationFailed
from flows.local.commands import LocalCommands
from flows.local.scheduling import LocalScheduler
from flows.ssh.connections import Connections
from tests.flows.submitting import WAITS, statuses, submission
from tests.waiting import until

LEDGER = "echo ran >>ledger"


@pytest.fixture
async def make(place: Place) -> AsyncIterator[Callable[[], LocalScheduler]]:
    """Make a scheduler with one slot."""
    made: list[LocalScheduler] = []

    def make() -> LocalScheduler:
        made.append(LocalScheduler(Surroundings(place, "here", Connections()), slots=1))
        return made[-1]

    yield make
    for scheduler in made:
        await scheduler.close()


def kept(place: Place, job: Submission) -> Path:
    return place.commands / "here" / job.token


def added(place: Place, command: str) -> Submission:
    """Return a command that a process before this one wrote down."""
    job = submission(place, command)
    LocalCommands(place.commands / "here").add(job)
    return job


def restart(place: Place, job: Submission) -> None:
    """Let it be that the command was started in another boot of the machine."""
    boot = kept(place, job) / "boot"
    boot.unlink(missing_ok=True)
    boot.symlink_to("another")


@pytest.mark.parametrize(
    "content", ["", "\0" * 100, "[]", "{}", None], ids=["empty", "zeros", "a list", "no keys", "missing"]
)
async def test_what_cannot_be_read_is_lost_and_submitted_again(
    make: Callable[[], LocalScheduler], place: Place, content: str | None
) -> None:
    damaged, other = added(place, LEDGER), added(place, LEDGER)
    for name in ("submission.json", "command"):
        (kept(place, damaged) / name).unlink()
        if content is not None:
            (kept(place, damaged) / name).write_text(content)
    scheduler = make()
    assert await statuses(scheduler, damaged.token) == [Status(state="lost")]
    assert (await statuses(scheduler, other.token))[-1].returncode == 0
    assert await scheduler.submit(damaged) == damaged.token
    assert (await statuses(scheduler, damaged.token))[-1].returncode == 0
    assert (damaged.directory / "ledger").read_text() == "ran\n"


async def test_what_cannot_be_read_any_more_at_its_turn_holds_no_slot(
    make: Callable[[], LocalScheduler], place: Place
) -> None:
    first, damaged, last = submission(place, WAITS), submission(place, LEDGER), submission(place, LEDGER)
    scheduler = make()
    for job in (first, damaged, last):
        await scheduler.submit(job)
    watching = [asyncio.create_task(statuses(scheduler, job.token)) for job in (damaged, last)]
    await until((first.directory / "ready").exists)
    (kept(place, damaged) / "submission.json").write_text("")
    (first.directory / "go").touch()
    lost, ended = [seen[-1] for seen in await asyncio.gather(*watching)]
    assert lost == Status(state="lost")
    assert ended.returncode == 0


@pytest.mark.parametrize("content", ["", "exit 3\n", None])
async def test_a_script_that_was_damaged_is_made_again(
    make: Callable[[], LocalScheduler], place: Place, content: str | None
) -> None:
    job = added(place, LEDGER)
    (kept(place, job) / "command").unlink()
    if content is not None:
        (kept(place, job) / "command").write_text(content)
    assert (await statuses(make(), job.token))[-1].returncode == 0
    assert (job.directory / "ledger").read_text() == "ran\n"


@pytest.mark.parametrize("process", ["bystander", "", None])
async def test_a_process_of_an_earlier_boot_is_gone(
    make: Callable[[], LocalScheduler], place: Place, process: str | None, bystander: subprocess.Popen[bytes]
) -> None:
    job = added(place, LEDGER)
    (kept(place, job) / "started").mkdir()
    if process is not None:
        start_time = Path(f"/proc/{bystander.pid}/stat").read_text().split()[21]
        text = process and f"{bystander.pid} {start_time} "
        (kept(place, job) / "process").write_text(text)
    restart(place, job)
    scheduler = make()
    end = (await statuses(scheduler, job.token))[-1]
    assert isinstance(end.failure, DestinationFailed)
    assert str(end.failure) == "The machine was restarted before the end of the command was certain."
    await scheduler.cancel(job.token)
    assert bystander.poll() is None
    assert not (job.directory / "ledger").exists()


async def test_what_may_have_begun_before_a_power_cut_never_begins_again(
    make: Callable[[], LocalScheduler], place: Place
) -> None:
    job = added(place, LEDGER)
    restart(place, job)  # that it has started was not on the disk yet
    assert isinstance((await statuses(make(), job.token))[-1].failure, DestinationFailed)
    assert not (job.directory / "ledger").exists()


async def test_an_end_from_before_the_restart_counts(
    make: Callable[[], LocalScheduler], place: Place
) -> None:
    job = added(place, "exit 4")
    assert (await statuses(make(), job.token))[-1].returncode == 4
    restart(place, job)
    assert (await statuses(make(), job.token))[-1] == Status(state="ended", returncode=4)


async def test_a_command_that_an_earlier_version_started_is_followed(
    make: Callable[[], LocalScheduler], place: Place
) -> None:
    first, job = make(), submission(place, f"{WAITS}; exit 4")
    await first.submit(job)
    await until((job.directory / "ready").exists)
    await first.close()
    (kept(place, job) / "boot").unlink()
    watching = asyncio.create_task(statuses(make(), job.token))
    (job.directory / "go").touch()
    assert (await watching)[-1].returncode == 4


async def test_what_has_to_be_on_the_disk_before_what(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    job, commands = submission(place, "true"), LocalCommands(place.commands / "here")
    directory, events = kept(place, job), []

    def fsync(path: Path) -> None:
        events.append((path.name, sorted(path.name for path in directory.glob("*"))))
        durability.fsync(path)

    monkeypatch.setattr("flows.local.commands.fsync", fsync)
    monkeypatch.setattr("flows.local.kept.fsync", fsync)
    commands.add(job)
    await commands.launch(job.token, {})
    await commands.wait(job.token)
    written = ["command", "room", "submission.json"]
    assert events == [
        ("submission.json", []),
        (f".{job.token}", []),
        ("here", written),
        (job.token, sorted(["boot", *written])),
    ]


async def test_a_slot_is_free_again_when_its_command_is_forgotten_at_once(
    make: Callable[[], LocalScheduler], place: Place
) -> None:
    scheduler, job, other = make(), added(place, LEDGER), submission(place, LEDGER)
    await scheduler.submit(job)  # takes over what there is, and lets no task run
    await scheduler.forget(job.token)
    await scheduler.submit(other)
    assert (await statuses(scheduler, other.token))[-1].returncode == 0
