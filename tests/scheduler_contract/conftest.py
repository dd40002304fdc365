"""Each test of the contract with each backend."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from deployments.serving.prefect_server import EmbeddedPrefect
from flows.destinations.scheduler import Scheduler
from flows.destinations.surroundings import Surroundings
from flows.destinations.types import SCHEDULERS
from flows.disk.places import Place
from flows.ssh.connections import Connections
from tests import howto
from tests.flows.recorder import Recorder
from tests.flows.submitting import has_ended
from tests.pilots import Pilot, make_pool, new_pool
from tests.scheduler_contract.backends import BACKENDS, REACHED, Backend, Keys, names

Make = Callable[..., Scheduler]


@pytest.fixture(params=names(lambda backend: True, BACKENDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def backend(kind: str) -> Backend:
    return REACHED[kind]


@pytest.fixture
def begun(backend: Backend, request: pytest.FixtureRequest) -> Keys:
    """The backend is up; these are its keys for this test."""
    return backend.begin(request)


@pytest_asyncio.fixture(scope="module")
async def pilot_pool(
    prefect_server: None, shared_prefect: EmbeddedPrefect, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    """A work pool with a pilot."""
    pool = new_pool()
    await make_pool(pool)
    options = ["--work-pool", pool, "--max-jobs=8"]
    pilot = Pilot(tmp_path_factory.mktemp("pilot"), shared_prefect.client_environment(), *options).start()
    yield pool
    await asyncio.to_thread(pilot.end)


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
        scheduler = configured.make(Surroundings(place, "here", connections))
        made.append(backend.play(scheduler, place))
        return made[-1]

    yield make
    for scheduler in made:
        await scheduler.close()
    await connections.close()


@pytest.fixture
def scheduler(make: Make) -> Scheduler:
    return make()
