"""Schedulers that reach a real cluster by its REST API only."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from flows.destinations.scheduler import Scheduler
from flows.destinations.surroundings import Surroundings
from flows.destinations.types import SCHEDULERS
from flows.disk.places import Place
from flows.ssh.connections import Connections
from tests.flows.slurm.slurmrestd.servers import Make, Paths, save
from tests.services.slurm import SlurmCluster


@pytest.fixture
def paths(slurm_cluster: SlurmCluster) -> Paths:
    return Paths(slurm_cluster)


@pytest.fixture
def of_today(slurm_cluster: SlurmCluster) -> None:
    if slurm_cluster.version < (24, 11):
        pytest.skip("slurmrestd of this Slurm has no v0.0.42: make test-long runs one that has")


@pytest.fixture
async def block(prefect_server: None, slurm_cluster: SlurmCluster) -> None:
    await save(slurm_cluster)


@pytest.fixture
async def make(block: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    """Make a scheduler; made twice, the second is what another process would have."""
    made = []
    monkeypatch.setenv("SLURM_CONF", "/nowhere")

    def make(**options: Any) -> Scheduler:
        keys = {"type": "slurmrestd", "block": "cluster", "poll_interval": 0.1, **options}
        place = Place(tmp_path / "data", tmp_path / "jobs")
        configured = SCHEDULERS.configured(keys, Path())
        made.append(configured.make(Surroundings(place, "here", Connections())))
        return made[-1]

    yield make
    for scheduler in made:
        await scheduler.close()


@pytest.fixture
def scheduler(make: Make) -> Scheduler:
    return make()
