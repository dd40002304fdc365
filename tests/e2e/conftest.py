import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

import asyncpg
import pytest
import pytest_asyncio
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import FlowRun

from tests.e2e.service import MORE_DESTINATIONS, PICKER, Service, until


@pytest_asyncio.fixture(scope="package")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """One server that tests share; they must leave it running.

    It ends with the last test of this package: an idle server costs all others a twentieth of a core.
    """
    directory = tmp_path_factory.mktemp("service")
    (directory / "picker.py").write_text(PICKER)
    service = Service(directory, MORE_DESTINATIONS)
    await service.start()
    yield service
    await service.stop()


@pytest_asyncio.fixture(scope="package")
async def workerless(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """One server without a worker that tests share; they must leave no job behind. See `workers`."""
    service = Service(tmp_path_factory.mktemp("workerless"))
    await service.start("--no-worker")
    yield service
    await service.stop()


StartWorker = Callable[..., subprocess.Popen[bytes]]


@pytest_asyncio.fixture
async def workers(workerless: Service) -> AsyncIterator[StartWorker]:
    """Start workers by name beside `workerless`; they are ended, frozen ones too."""
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str = "worker", **variables: str) -> subprocess.Popen[bytes]:
        started.append(workerless.worker(name, **variables))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()
        await asyncio.to_thread(worker.wait, 180)


@pytest_asyncio.fixture
async def own_service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """A server of the test's own, not yet started, to do anything to."""
    service = Service(tmp_path_factory.mktemp("own"))
    yield service
    await service.stop()


@pytest_asyncio.fixture
async def prefect(service: Service) -> AsyncIterator[PrefectClient]:
    async with prefect_client(service) as client:
        yield client


def prefect_client(service: Service) -> PrefectClient:
    environment = service.environment
    return PrefectClient(environment["PREFECT_API_URL"], auth_string=environment["PREFECT_API_AUTH_STRING"])


@asynccontextmanager
async def database(service: Service) -> AsyncIterator[asyncpg.Connection]:
    """Connect to the server's own database."""
    connection = await asyncpg.connect(service.environment["BARTENDER_DB_DSN"].replace("+asyncpg", ""))
    try:
        yield connection
    finally:
        await connection.close()


async def job_runs(prefect: PrefectClient) -> list[FlowRun]:
    """Return the flow runs of all jobs, without those of the scheduled flows."""
    return await prefect.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=["run-job"])))


async def runs_of(service: Service, prefect: PrefectClient, jobs: Collection[int]) -> dict[int, FlowRun]:
    """Return the flow runs of jobs by their ids, once Prefect has been told of all, and the rows say so."""

    async def all_are_recorded() -> bool:
        async with database(service) as connection:
            recorded = "SELECT count(*) FROM job WHERE recorded AND id = ANY($1)"
            return bool(await connection.fetchval(recorded, list(jobs)) == len(jobs))

    await until(all_are_recorded)
    found = {run.parameters["job_id"]: run for run in await job_runs(prefect)}
    return {job_id: found[job_id] for job_id in jobs}


def prefect_command_environment(service: Service) -> dict[str, str]:
    """What an operator's shell has after sourcing the data directory's file ``environment``."""
    return {**os.environ, **service.environment}
