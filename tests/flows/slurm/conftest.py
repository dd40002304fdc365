"""Schedulers on a real cluster, with hosts that go wrong on purpose."""

import math
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flows.destinations.host import Completed, Host
from flows.destinations.scheduler import Scheduler, Submission
from flows.destinations.surroundings import Surroundings
from flows.destinations.types import SCHEDULERS
from flows.disk.places import Place
from flows.errors import Unavailable
from flows.local.host import ThisMachine
from flows.ssh.connections import Connections
from tests.flows.slurm.jobs import Job
from tests.services.slurm import SlurmCluster


class Recorder:
    """This machine; keeps what was run on it and from when to when. ``before`` goes before each command."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.times: list[tuple[float, float]] = []
        self.before = ""
        self.loses = False
        self._host = ThisMachine()

    async def run(self, command: str, *, seconds: float = 60.0, input: bytes = b"") -> Completed:
        number, began = len(self.commands), time.monotonic()
        self.commands.append(command)
        self.times.append((began, math.inf))
        completed = await self._host.run(self.before + command, seconds=seconds, input=input)
        self.times[number] = (began, time.monotonic())
        if self.loses:
            raise Unavailable("The connection was lost.")
        return completed

    @contextmanager
    def losing_answers(self) -> Iterator[None]:
        """Commands are run, and nobody learns how they ended."""
        self.loses = True
        yield
        self.loses = False

    def when(self, part: str) -> list[tuple[float, float]]:
        """Return from when to when the commands ran that hold this."""
        return [times for command, times in zip(self.commands, self.times, strict=True) if part in command]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "data", tmp_path / "jobs")


@pytest.fixture
def host() -> Recorder:
    return Recorder()


@pytest.fixture
def cluster(slurm_cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    slurm_cluster.use(monkeypatch)
    return slurm_cluster


@pytest.fixture
async def make(place: Place, host: Host) -> AsyncIterator[Callable[..., Scheduler]]:
    """Make a scheduler; made twice, the second is what another process would have."""
    made = []

    def make(**options: Any) -> Scheduler:
        keys = {"type": "slurm", "poll_interval": 0.1, **options}
        connections = Connections()
        connections.this_machine = host
        made.append(SCHEDULERS.configured(keys, Path()).make(Surroundings(place, "here", connections)))
        return made[-1]

    yield make
    for scheduler in made:
        await scheduler.close()


@pytest.fixture
def scheduler(cluster: SlurmCluster, make: Callable[..., Scheduler]) -> Scheduler:
    return make()


@pytest.fixture
def job(slurm_cluster: SlurmCluster) -> Iterator[Job]:
    """Make submissions whose directories are the account's."""
    account = slurm_cluster.state.account
    root = account.own(account.home / f"jobs-{uuid.uuid4()}")

    def make(command: str) -> Submission:
        token = str(uuid.uuid4())
        directory = account.own(root / token)
        return Submission(
            token=token, job_id=1, application="a", submitter="me", command=command, directory=directory
        )

    yield make
    shutil.rmtree(root)
