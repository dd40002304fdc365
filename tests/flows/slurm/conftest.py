"""Schedulers on a real cluster, with hosts that go wrong on purpose."""

import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.destinations.host import Host
from flows.destinations.scheduler import Scheduler, Submission
from flows.destinations.surroundings import Surroundings
from flows.destinations.types import SCHEDULERS
from flows.disk.places import Place
from flows.ssh.connections import Connections
from tests.flows.recorder import Recorder
from tests.flows.slurm.jobs import Job
from tests.services.slurm import SlurmCluster


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
