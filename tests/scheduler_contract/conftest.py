"""Each test of the contract with each backend."""

import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.destinations.scheduler import Scheduler
from flows.destinations.surroundings import Surroundings
from flows.destinations.types import SCHEDULERS
from flows.disk.places import Place
from flows.ssh.connections import Connections
from tests import howto
from tests.flows.recorder import Recorder
from tests.flows.submitting import has_ended
from tests.scheduler_contract.backends import BACKENDS, REACHED, Backend, Keys

Make = Callable[..., Scheduler]


@pytest.fixture(params=BACKENDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def backend(kind: str) -> Backend:
    return REACHED[kind]


@pytest.fixture
def begun(backend: Backend, request: pytest.FixtureRequest) -> Keys:
    """The backend is up; these are its keys for this test."""
    return backend.begin(request)


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
def host() -> Recorder:
    """This machine, for schedulers that run commands of their own."""
    return Recorder()


@pytest.fixture
async def make(kind: str, backend: Backend, begun: Keys, place: Place, host: Recorder) -> AsyncIterator[Make]:
    """Make a scheduler; made twice, the second is what another process would have."""
    made, connections = [], Connections()
    connections.this_machine = host
    howto.write("new-scheduler.md", place.data_dir)

    def make(**options: Any) -> Scheduler:
        keys = {"type": kind, **backend.keys, **begun, **options}
        configured = SCHEDULERS.configured(keys, place.data_dir)
        made.append(configured.make(Surroundings(place, "here", connections)))
        return made[-1]

    yield make
    for scheduler in made:
        await scheduler.close()
    await connections.close()


@pytest.fixture
def scheduler(make: Make) -> Scheduler:
    return make()
