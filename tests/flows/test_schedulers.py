"""The contract of every scheduler. A new one joins by an entry in SCHEDULERS.

So does a site's own, whose keys are in BARTENDER_TESTS_SCHEDULER as YAML: ``-k own`` selects it.
"""

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from blocks import SlurmRestCredentials
from flows.destinations.scheduler import Scheduler, Status
from flows.destinations.surroundings import Surroundings
from flows.destinations.types import SCHEDULERS as TYPES
from flows.disk.places import Place
from flows.errors import JobCancelled, Unavailable
from flows.ssh.connections import Connections
from tests import howto
from tests.flows.submitting import has_ended, run, statuses, submission
from tests.services.daemon import Daemon
from tests.services.slurm import SlurmCluster
from tests.services.sshd import SshServer
from tests.waiting import until, until_it_works

SCHEDULERS: dict[str, dict[str, Any]] = {
    "memory": {"slots": 3},
    "eager": {"max_load": 1000.0},
    "slurm": {"poll_interval": 0.1, "lost_after": 0.5},
    "slurmrestd": {"poll_interval": 0.1, "lost_after": 0.5, "block": "cluster"},
    "nice.py:Scheduler": {"interval": 0.05},
}
if own := os.environ.get("BARTENDER_TESTS_SCHEDULER"):
    SCHEDULERS["own"] = yaml.safe_load(own)

BY_SSH = "slurm by ssh"
"""The same scheduler as ``slurm``: only whether it can be asked is different."""


@pytest.fixture(params=SCHEDULERS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "slurm":
        cluster: SlurmCluster = request.getfixturevalue("slurm_cluster")
        cluster.use(monkeypatch)
    if request.param == BY_SSH:
        request.getfixturevalue("slurm_cluster")
    if request.param == "slurmrestd":
        cluster = request.getfixturevalue("slurm_cluster")
        credentials = SlurmRestCredentials(
            url=cluster.rest_url, user="root", token=SecretStr(cluster.token("root"))
        )

        async def load(name: str) -> SlurmRestCredentials:
            return credentials

        monkeypatch.setattr(SlurmRestCredentials, "aload", staticmethod(load))
    return str(request.param)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path / "data", tmp_path / "jobs")
    yield place
    # A test that failed half-way has left commands, which outlive everything by design.
    for process in place.commands.glob("*/*/process"):
        pid = int(process.read_text().split()[0])
        if pid and not has_ended(pid):
            os.killpg(pid, signal.SIGKILL)


@pytest.fixture
async def make(
    kind: str, place: Place, request: pytest.FixtureRequest
) -> AsyncIterator[Callable[..., Scheduler]]:
    """Make a scheduler; made twice, the second is what another process would have."""
    made, connections = [], Connections()
    howto.write("new-scheduler.md", place.data_dir)

    def make(**options: Any) -> Scheduler:
        keys = {"type": kind, **SCHEDULERS.get(kind, {}), **options}
        if kind == BY_SSH:
            server: SshServer = request.getfixturevalue("ssh_server")
            keys |= {"type": "slurm", "ssh_config": server.login(server.stock)}
        configured = TYPES.configured(keys, place.data_dir)
        made.append(configured.make(Surroundings(place, "here", connections)))
        return made[-1]

    yield make
    for scheduler in made:
        await scheduler.close()
    await connections.close()


@pytest.fixture
def scheduler(make: Callable[..., Scheduler]) -> Scheduler:
    return make()


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


async def test_another_process_takes_a_running_command_over(
    make: Callable[..., Scheduler], place: Place
) -> None:
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


async def test_another_process_finds_the_end_of_a_command(
    make: Callable[..., Scheduler], place: Place
) -> None:
    first, job = make(), submission(place, "exit 5")
    scheduler_id = await first.submit(job)
    await until((job.directory / "returncode").exists)
    await first.close()
    assert [status.returncode for status in await statuses(make(), scheduler_id)][-1] == 5


async def test_cancel_ends_the_command_and_its_children(scheduler: Scheduler, place: Place) -> None:
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
    assert all(has_ended(int(path.read_text())) for path in children)
    (other.directory / "go").touch()
    assert (await statuses(scheduler, other_id))[-1].returncode == 0


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


@contextmanager
def disk_away(request: pytest.FixtureRequest) -> Iterator[None]:
    """The data directory is a link to where nothing is."""
    data_dir = request.getfixturevalue("place").data_dir
    elsewhere = data_dir.rename(data_dir.with_name("elsewhere"))
    data_dir.symlink_to("/nowhere/data")
    yield
    data_dir.unlink()
    elsewhere.rename(data_dir)


def daemon_away(name: str) -> Callable[[pytest.FixtureRequest], AbstractContextManager[None]]:
    @contextmanager
    def away(request: pytest.FixtureRequest) -> Iterator[None]:
        daemon: Daemon = getattr(request.getfixturevalue("slurm_cluster"), name)
        daemon.kill()
        try:
            yield
        finally:
            daemon.start()

    return away


def machine_away(request: pytest.FixtureRequest) -> AbstractContextManager[None]:
    server: SshServer = request.getfixturevalue("ssh_server")
    return server.stock.away()


AWAY: dict[str, Callable[[pytest.FixtureRequest], AbstractContextManager[None]]] = {
    "memory": disk_away,
    "eager": disk_away,
    "slurm": daemon_away("slurmctld"),
    "slurmrestd": daemon_away("slurmrestd"),
    BY_SSH: machine_away,
}


@pytest.mark.parametrize("kind", AWAY, indirect=True)
async def test_it_says_when_it_cannot_be_asked(
    scheduler: Scheduler, kind: str, request: pytest.FixtureRequest
) -> None:
    await scheduler.check()
    with AWAY[kind](request):
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


async def test_many_at_once(scheduler: Scheduler, place: Place) -> None:
    ends = await asyncio.gather(*(run(scheduler, place, f"exit {n % 3}") for n in range(30)))
    assert [end.returncode for end, _ in ends] == [n % 3 for n in range(30)]
