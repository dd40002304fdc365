"""The servers as fixtures, and what happens to tests where they cannot be had."""

import asyncio
import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.services import chromium
from tests.services.gridengine import GridEngine
from tests.services.logins import need_shells
from tests.services.object_stores import Rclone, SeaweedFs
from tests.services.packages import Missing
from tests.services.processes import identity, read_stat
from tests.services.slurm import SlurmCluster
from tests.services.sshd import SshServer
from tests.services.state import State
from tests.services.tes import TesServer

PREFIX = "bartender-tests-"
MISSING = pytest.StashKey[set[str]]()


@pytest.fixture(scope="session")
def services_state() -> Iterator[State]:
    """Of the servers that tests share."""
    clear_leftovers()
    state = new_state("shared")
    yield state
    remove(state)


@pytest.fixture
def own_services_state() -> Iterator[State]:
    """For servers of a test's own; the test need not stop them."""
    state = new_state(uuid.uuid4().hex[:8])
    yield state
    remove(state)


@pytest_asyncio.fixture(scope="session")
async def browser(pytestconfig: pytest.Config) -> AsyncIterator[Browser]:
    """Chromium; each test makes a context of its own."""
    with skipped_where_missing(pytestconfig):
        await asyncio.to_thread(chromium.install)
    async with chromium.running() as browser:
        yield browser


@pytest.fixture(scope="session")
def slurm_cluster(services_state: State, request: pytest.FixtureRequest) -> SlurmCluster:
    """A cluster with accounting."""
    return started(SlurmCluster(services_state), request.config)


@pytest.fixture(scope="session")
def slurm_without_accounting(services_state: State, request: pytest.FixtureRequest) -> SlurmCluster:
    """A cluster without."""
    return started(SlurmCluster(services_state, "plain", accounting=False), request.config)


@pytest.fixture(scope="session")
def second_cluster(slurm_cluster: SlurmCluster, request: pytest.FixtureRequest) -> SlurmCluster:
    """A cluster that the commands of ``slurm_cluster`` find by its name."""
    return started(SlurmCluster(slurm_cluster.state, "second", beside=slurm_cluster), request.config)


@pytest.fixture(scope="session")
def gridengine(services_state: State, request: pytest.FixtureRequest) -> GridEngine:
    """Grid Engine of one host."""
    return started(GridEngine(services_state), request.config)


@pytest.fixture(scope="session")
def ssh_server(services_state: State, request: pytest.FixtureRequest) -> SshServer:
    """Commands run over it find the cluster ``slurm_cluster``, if a test has that too."""
    return started(SshServer(services_state, SlurmCluster(services_state).environment), request.config)


@pytest.fixture(scope="session")
def shells(request: pytest.FixtureRequest) -> None:
    """There are all shells that accounts may have."""
    with skipped_where_missing(request.config):
        need_shells()


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFs]:
    """An object store with the bucket ``BUCKET``."""
    server = SeaweedFs(tmp_path_factory.mktemp("seaweedfs"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rclone]:
    """Another one."""
    server = Rclone(tmp_path_factory.mktemp("rclone"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def tes_server(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[TesServer]:
    """A TES server whose tasks are containers."""
    server = TesServer(tmp_path_factory.mktemp("tes"), tmp_path_factory.getbasetemp())
    with skipped_where_missing(request.config):
        server.containers.prepare()
    server.start()
    yield server
    server.stop()
    server.containers.remove()


Server = TypeVar("Server", SlurmCluster, SshServer, GridEngine)


def started(server: Server, config: pytest.Config) -> Server:
    with skipped_where_missing(config):
        server.up()
    return server


@contextmanager
def skipped_where_missing(config: pytest.Config) -> Iterator[None]:
    """Skip the test where this block raises Missing, and say so in the end; fail it where all have to run."""
    try:
        yield
    except Missing as missing:
        if required():
            pytest.fail(f"{missing}. All tests have to run here.", pytrace=False)
        config.stash.setdefault(MISSING, set()).add(str(missing))
        pytest.skip(str(missing))


def required() -> bool:
    return bool(os.environ.get("CI") or os.environ.get("BARTENDER_TESTS_REQUIRE_ALL"))


def new_state(name: str) -> State:
    """Other users have to reach it, so it is not in pytest's directory. Its name says whose process it is."""
    pid, began = identity(read_stat(os.getpid()) or "")
    return State(Path(tempfile.gettempdir()) / f"{PREFIX}{pid}-{began}-{name}")


def clear_leftovers() -> None:
    """Of sessions that were killed."""
    for directory in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*-*"):
        pid, began, _ = directory.name.removeprefix(PREFIX).split("-")
        stat = read_stat(int(pid))
        lives = stat is not None and identity(stat) == (int(pid), int(began))
        if not lives and directory.stat().st_uid == os.geteuid():
            remove(State(directory))


def remove(state: State) -> None:
    if state.directory.exists():
        first = SlurmCluster(state)
        others = (SlurmCluster(state, "second", beside=first), SlurmCluster(state, "plain", accounting=False))
        for server in (SshServer(state), GridEngine(state), *others, first):
            server.down()
        state.remove()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> Iterator[None]:
    """Below everything else, where it is not overlooked, one line for each thing that was missing."""
    yield
    missing = config.stash.get(MISSING, None) or set()
    for what in sorted(missing):
        terminalreporter.write_line(f"NOT ALL TESTS WERE RUN: {what}.", red=True, bold=True)
