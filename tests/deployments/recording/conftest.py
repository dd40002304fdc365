"""An embedded Prefect server, which has the route, and which knows the flow of jobs."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from deployments.serving.postgres import EmbeddedPostgres
from deployments.serving.prefect_server import DATABASE, EmbeddedPrefect
from tests.deployments.recording.server import Server, connected


@pytest_asyncio.fixture(scope="module")
async def server(
    postgres: EmbeddedPostgres, shared_prefect: EmbeddedPrefect, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Server]:
    results = tmp_path_factory.mktemp("results")
    async with connected(shared_prefect, postgres.url(DATABASE), results) as server:
        yield server
