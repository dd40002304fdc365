"""A network of this test's own, and a PostgreSQL that its hosts reach."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from sqlalchemy import URL

from tests.hosts.network import Network, why_not
from tests.hosts.postgres import ReachablePostgres
from tests.services.fixtures import skipped_where_missing
from tests.services.packages import Missing


@pytest.fixture(scope="module")
def network(pytestconfig: pytest.Config) -> Iterator[Network]:
    with skipped_where_missing(pytestconfig):
        if (reason := why_not()) is not None:
            raise Missing(f"Hosts of their own cannot be made here: {reason}")
    with Network(1) as network:
        yield network


@pytest_asyncio.fixture(scope="module")
async def reachable_postgres(
    network: Network, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[URL]:
    """The address of a database by the network, as of one of an operator's own."""
    server = ReachablePostgres(tmp_path_factory.mktemp("postgres"), network.address)
    await server.start()
    try:
        yield server.url("postgres")
    finally:
        await server.stop()
