"""A real PostgreSQL for the session; a fresh, migrated database for each test that asks for one."""

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from deployments import migrations
from deployments.serving.postgres import EmbeddedPostgres
from tests.waiting import LONG_ENOUGH

pytest_plugins = ["tests.services.fixtures", "tests.hosts.fixtures"]

TEMPLATE = "template_of_tests"

# Nothing here has to outlive a power cut.
HASTY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that at the end no process works alone."""
    items.sort(key=lambda item: not item.nodeid.startswith(("tests/e2e/", "tests/chaos/", "tests/contract/")))


@pytest_asyncio.fixture(scope="session")
async def postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedPostgres]:
    """PostgreSQL with a migrated database to copy."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), HASTY)
    await server.start()
    try:
        await server.create_database(TEMPLATE)
        await migrations.upgrade(server.url(TEMPLATE))
        yield server
    finally:
        await server.stop()


async def execute(server: EmbeddedPostgres, statement: str) -> None:
    """Run a statement that must not be in a transaction."""
    url = server.url("postgres")
    connection = await asyncpg.connect(
        host=str(url.query["host"]), user=url.username, password=url.password, database=url.database
    )
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest_asyncio.fixture
async def database_url(postgres: EmbeddedPostgres) -> AsyncIterator[URL]:
    """A database of this test's own, migrated and empty."""
    name = f"test_{uuid.uuid4().hex}"
    await execute(postgres, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield postgres.url(name)
    await execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest_asyncio.fixture
async def engine(database_url: URL) -> AsyncIterator[AsyncEngine]:
    """An engine on ``database_url``."""
    engine = create_async_engine(database_url)
    yield engine
    await engine.dispose()


@pytest.fixture(scope="module")
def prefect_server() -> Iterator[None]:
    """A Prefect server of the module's own."""
    from prefect.testing.utilities import prefect_test_harness  # few tests need Prefect

    with prefect_test_harness(server_startup_timeout=int(LONG_ENOUGH)):
        yield


@pytest.fixture
def checkout() -> Path:
    """The directory of the checkout."""
    return Path(__file__).parent.parent
