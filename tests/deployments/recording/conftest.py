"""An embedded Prefect server with the route, which knows the flow of jobs."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from deployments.serving.postgres import EmbeddedPostgres
from tests.deployments.recording.server import Server, started


@pytest_asyncio.fixture(scope="package")
async def server(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Server]:
    async with started(tmp_path_factory.mktemp("prefect"), postgres) as server:
        yield server
