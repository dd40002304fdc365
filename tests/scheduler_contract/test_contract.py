"""The contract of every scheduler.

A site's own joins, too: its keys are in BARTENDER_TESTS_SCHEDULER as YAML, and ``-k own`` selects it.
"""

import asyncio
import itertools
import os
import signal
import uuid
from pathlib import Path

import pytest

from flows.destinations.scheduler import Scheduler, Status
from flows.disk.places import Place
from flows.errors import JobCancelled, TimeLimitExceeded, Unavailable
from tests.flows.recorder import Recorder
from tests.flows.submitting import WAITS, has_ended, run, statuses, submission
from tests.scheduler_contract.backends import Backend, names
from tests.scheduler_contract.conftest import Make
from tests.waiting import until, until_it_works


async def test_a_command_runs_in_its_directory(scheduler: Scheduler, place: Place) -> None:
    end, directory = await run(scheduler, place, "pwd; echo problem >&2")
    assert end == Status(state="ended", returncode=0)
    assert (directory / "stdout.txt").read_text() == f"{directory}\n"
    assert (directory / "stderr.txt").read_text() == "problem\n"
    assert (directory / "returncode").read_text() == "0"
    assert {path.name for path in directory.iterdir()} == {"stdout.txt", "stderr.txt", "returncode"}


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("false", 1),
        ("exit 3", 3),
        ("no-such-command", 127),
        ("if", 2),
        ("kill -9 $$", 137),
        ("true; exit 0", 0),
    ],
)
async def test_return_codes(scheduler: Scheduler, place: Place, command: str, code: int) -> None:
    end, directory = await run(scheduler, place, command)
    assert end.returncode == code
    assert (directory / "returncode").read_text() == str(code)


async def test_a_long_command(scheduler: Scheduler, place: Place) -> None:
    text = "x" * 200_000  # longer than an argument of a process may be
    end, directory = await run(scheduler, place, f"cat <<'END'\n{text}\nEND")
    assert end.returncode == 0
    assert (directory / "stdout.txt").read_text() == text + "\n"


async def test_states_come_in_order(scheduler: Scheduler, place: Place) -> None:
    job = submission(place, "while [ ! -e go ]; do sleep 0.01; done")
    scheduler_id = await scheduler.submit(job)
    watching = asyncio.create_task(statuses(scheduler, scheduler_id))
    await until((job.directory / "stdout.txt").exists)
    (job.directory / "go").touch()
    states = [status.state for status in await watching]
    assert states[-2:] == ["running", "ended"]
    assert states in (["running", "ended"], ["queued", "running", "ended"])


async def test_a_token_is_submitted_once(scheduler: Scheduler, place: Place) -> None:
    job = submission(place, "echo ran >>ledger")
    ids = [await scheduler.submit(job) for _ in range(3)]
    await statuses(scheduler, ids[0])
    ids.append(await scheduler.submit(job))
    await statuses(scheduler, ids[-1])
    assert len(set(ids)) == 1
    assert (job.directory / "ledger").read_text() == "ran\n"


async def test_an_interrupted_submission_is_submitted_once(make: Make, place: Place) -> None:
    """A process was killed somewhere between the beginning and the answer; another one goes on."""
    jobs = [submission(place, "echo ran >>ledger") for _ in range(4)]
    first, second = make(), make()
    for number, job in enumerate(jobs):
        submitting = asyncio.create_task(first.submit(job))
        await asyncio.sleep(0.03 * number)
        submitting.cancel()
        await asyncio.gather(submitting, return_exceptions=True)
    ids = await asyncio.gather(*(until_it_works(lambda job=job: second.submit(job)) for job in jobs))  # type: ignore[misc]
    ends = await asyncio.gather(*(statuses(second, scheduler_id) for scheduler_id in ids))
    assert [end[-1] for end in ends] == [Status(state="ended", returncode=0)] * len(jobs)
    assert [(job.directory / "ledger").read_text() for job in jobs] == ["ran\n"] * len(jobs)


@pytest.mark.parametrize("kind", names(lambda backend: backend.question), indirect=True)
async def test_a_lost_answer(make: Make, host: Recorder, place: Place) -> None:
    scheduler, job = make(), submission(place, f"echo ran >>ledger; {WAITS}")
    with host.losing_answers(), pytest.raises(Unavailable):
        await scheduler.submit(job)
    scheduler_id = await make().submit(job)
    await until((job.directory / "ledger").exists)
    assert await scheduler.submit(job) == scheduler_id
    (job.directory / "go").touch()
    assert (await statuses(scheduler, scheduler_id))[-1] == Status(state="ended", returncode=0)
    assert await scheduler.submit(job) == scheduler_id
    assert (job.directory / "ledger").read_text() == "ran\n"


async def test_another_process_takes_a_running_command_over(make: Make, place: Place) -> None:
    first, job = (
        make(),
        submission(place, "echo ran >>ledger; while [ ! -e go ]; do sleep 0.01; done; exit 4"),
    )
    scheduler_id = await first.submit(job)
    await until((job.directory / "ledger").exists)
    await first.close()
    second = make()
    watching = asyncio.create_task(statuses(second, scheduler_id))
    assert await second.submit(job) == scheduler_id
    (job.directory / "go").touch()
    assert (await watching)[-1].returncode == 4
    assert (job.directory / "ledger").read_text() == "ran\n"


async def test_another_process_finds_the_end_of_a_command(make: Make, place: Place) -> None:
    first, job = make(), submission(place, "exit 5")
    scheduler_id = await first.submit(job)
    await until((job.directory / "returncode").exists)
    await first.close()
    assert [status.returncode for status in await statuses(make(), scheduler_id)][-1] == 5


async def test_cancel_ends_the_command_and_its_children(
    scheduler: Scheduler, backend: Backend, place: Place
) -> None:
    # One child ignores SIGTERM, one leaves the session.
    job = submission(
        place,
        "trap '' TERM; sleep 1000 & echo $! >child; setsid sh -c 'echo $$ >gone; sleep 1000' & wait",
    )
    other = submission(place, "while [ ! -e go ]; do sleep 0.01; done")
    scheduler_id, other_id = await scheduler.submit(job), await scheduler.submit(other)
    children = [job.directory / "child", job.directory / "gone"]
    await until(lambda: all(path.exists() and path.read_text().endswith("\n") for path in children))
    await scheduler.cancel(scheduler_id)
    end = (await statuses(scheduler, scheduler_id))[-1]
    assert isinstance(end.failure, JobCancelled)
    child, gone = (int(path.read_text()) for path in children)
    if backend.spares_sessions_of_root:
        await until(lambda: has_ended(child))
        os.kill(gone, signal.SIGKILL)
    else:
        assert has_ended(child)
        assert has_ended(gone)
    (other.directory / "go").touch()
    assert (await statuses(scheduler, other_id))[-1].returncode == 0


@pytest.mark.parametrize("kind", names(lambda backend: backend.full), indirect=True)
async def test_cancel_while_it_waits(
    make: Make, backend: Backend, place: Place, request: pytest.FixtureRequest
) -> None:
    assert backend.full is not None
    with backend.full(request) as keys:
        scheduler = make(**keys)
        before, job = submission(place, WAITS), submission(place, "echo >began")
        ids = [await scheduler.submit(before), await scheduler.submit(job)]
        assert (await anext(scheduler.watch(ids[1]))).state == "queued"
        for scheduler_id in reversed(ids):
            await scheduler.cancel(scheduler_id)
            assert isinstance((await statuses(scheduler, scheduler_id))[-1].failure, JobCancelled)
    assert not (job.directory / "began").exists()


@pytest.mark.parametrize("kind", names(lambda backend: backend.limited), indirect=True)
async def test_a_command_over_its_time(make: Make, backend: Backend, place: Place) -> None:
    """Slurm looks every 30 s: it is shown with its other ends."""
    end, directory = await run(make(**backend.limited), place, "echo $$ >pid; sleep 1000")
    assert isinstance(end.failure, TimeLimitExceeded)
    assert has_ended(int((directory / "pid").read_text()))


async def test_cancel_after_the_end_changes_nothing(scheduler: Scheduler, place: Place) -> None:
    job = submission(place, "exit 6")
    scheduler_id = await scheduler.submit(job)
    await statuses(scheduler, scheduler_id)
    await scheduler.cancel(scheduler_id)
    assert (await statuses(scheduler, scheduler_id))[-1] == Status(state="ended", returncode=6)


async def test_cancel_of_what_was_never_submitted(scheduler: Scheduler) -> None:
    await scheduler.cancel(str(uuid.uuid4()))


async def test_forget_leaves_nothing(scheduler: Scheduler, place: Place) -> None:
    job = submission(place, "true")
    scheduler_id = await scheduler.submit(job)
    await statuses(scheduler, scheduler_id)
    await scheduler.forget(scheduler_id)
    await scheduler.forget(scheduler_id)
    assert not any(place.commands.rglob(job.token))


async def test_it_can_be_asked(scheduler: Scheduler) -> None:
    await scheduler.check()


@pytest.mark.parametrize("kind", names(lambda backend: backend.away), indirect=True)
async def test_it_says_when_it_cannot_be_asked(
    scheduler: Scheduler, backend: Backend, request: pytest.FixtureRequest
) -> None:
    assert backend.away is not None
    await scheduler.check()
    with backend.away(request):
        for _ in range(2):
            with pytest.raises(Unavailable):
                await scheduler.check()
    await until_it_works(scheduler.check)


async def test_what_is_lost_ends(scheduler: Scheduler) -> None:
    [end] = await statuses(scheduler, str(uuid.uuid4()))
    assert end.failure is not None


async def test_the_servers_secrets_stay_with_it(
    scheduler: Scheduler, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BARTENDER_DB_DSN", "hidden-dsn")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "hidden-auth")
    monkeypatch.setenv("ANYTHING_ELSE", "hidden-else")
    _, directory = await run(scheduler, place, "env; cat /proc/$PPID/environ")
    assert "hidden" not in (directory / "stdout.txt").read_text()


async def test_nothing_is_left_running(scheduler: Scheduler, place: Place) -> None:
    _, directory = await run(scheduler, place, "sleep 1000 & echo $! >child")
    child = int((directory / "child").read_text())
    await until(
        lambda: not Path(f"/proc/{child}").exists() or "zombie" in Path(f"/proc/{child}/status").read_text()
    )


async def test_many_at_once(scheduler: Scheduler, backend: Backend, host: Recorder, place: Place) -> None:
    ends = await asyncio.gather(*(run(scheduler, place, f"exit {n % 3}") for n in range(30)))
    assert [end.returncode for end, _ in ends] == [n % 3 for n in range(30)]
    if backend.question:
        questions = host.when(backend.question)
        gaps = [after[0] - before[1] for before, after in itertools.pairwise(questions)]
        assert min(gaps, default=1.0) >= backend.keys["poll_interval"] - 0.001  # of two clocks
