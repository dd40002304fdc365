import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import FlowRun

from tests.e2e.service import PICKER, TWO_DESTINATIONS, Service


@pytest_asyncio.fixture(scope="session")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """One server that tests share; they must leave it running."""
    directory = tmp_path_factory.mktemp("service")
    (directory / "picker.py").write_text(PICKER)
    service = Service(directory, TWO_DESTINATIONS)
    await service.start()
    yield service
    await service.stop()


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


async def job_runs(prefect: PrefectClient) -> list[FlowRun]:
    """Return the flow runs of all jobs, without those of the scheduled flows."""
    return await prefect.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=["run-job"])))


def prefect_command_environment(service: Service) -> dict[str, str]:
    """What an operator's shell has after sourcing the data directory's file ``environment``."""
    return {**os.environ, **service.environment}
