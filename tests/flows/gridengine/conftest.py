"""Schedulers on a real Grid Engine."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from flows.destinations.scheduler import Scheduler
from flows.destinations.surroundings import Surroundings
from flows.destinations.types import SCHEDULERS
from flows.disk.places import Place
from flows.ssh.connections import Connections
from tests.flows.recorder import Recorder
from tests.services.gridengine import GridEngine

Make = Callable[..., Scheduler]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "data", tmp_path / "jobs")


@pytest.fixture
def host() -> Recorder:
    return Recorder()


@pytest.fixture
def engine(gridengine: GridEngine, monkeypatch: pytest.MonkeyPatch) -> GridEngine:
    gridengine.use(monkeypatch)
    return gridengine


@pytest.fixture
async def make(engine: GridEngine, place: Place, host: Recorder) -> AsyncIterator[Make]:
    """Make a scheduler; made twice, the second is what another process would have."""
    made = []

    def make(**options: Any) -> Scheduler:
        keys = {"type": "gridengine", "poll_interval": 0.2, **options}
        connections = Connections()
        connections.this_machine = host
        made.append(SCHEDULERS.configured(keys, Path()).make(Surroundings(place, "here", connections)))
        return made[-1]

    yield make
    for scheduler in made:
        await scheduler.close()


@pytest.fixture
def scheduler(make: Make) -> Scheduler:
    return make()
