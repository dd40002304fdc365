"""A real PostgreSQL for the session; a fresh, migrated database for each test that asks for one."""

import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import URL

from deployments import migrations
from deployments.serving.listening import listen
from deployments.serving.postgres import EmbeddedPostgres
from deployments.serving.prefect_server import EmbeddedPrefect
from flows.database.pool import Pool
from tests.e2e.first_start import FirstStart
from tests.e2e.service import Service

pytest_plugins = ["tests.leftovers", "tests.services.fixtures", "tests.hosts.fixtures", "tests.turns"]

TEMPLATE = "template_of_tests"

# Nothing here has to outlive a power cut.
HASTY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@pytest.fixture(scope="session", autouse=True)
def first_start(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whole servers begin with databases that one process of the test run has made."""
    of_this_process = tmp_path_factory.getbasetemp()
    of_all = of_this_process.parent if "PYTEST_XDIST_WORKER" in os.environ else of_this_process
    Service.first_start = FirstStart(of_all)


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
async def pool(database_url: URL) -> AsyncIterator[Pool]:
    """Connections to ``database_url``."""
    pool = Pool(database_url)
    yield pool
    await pool.close()


@pytest_asyncio.fixture(scope="session")
async def shared_prefect(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[EmbeddedPrefect]:
    """One Prefect server for all modules that need one."""
    with listen("127.0.0.1", 0, "") as listener:
        server = EmbeddedPrefect(tmp_path_factory.mktemp("prefect"), postgres, listener)
        try:
            await server.start()
            await server.wait_until_ready()
            yield server
        finally:
            await server.stop()


@pytest_asyncio.fixture(scope="module")
async def prefect_server(shared_prefect: EmbeddedPrefect) -> AsyncIterator[None]:
    """What the module does with Prefect is done at a server that is shared: what it makes there stays."""
    from prefect import settings  # few tests need Prefect

    changed = {
        settings.PREFECT_API_URL: shared_prefect.api_url,
        settings.PREFECT_API_AUTH_STRING: shared_prefect.client_environment()["PREFECT_API_AUTH_STRING"],
        settings.PREFECT_LOGGING_TO_API_ENABLED: False,  # as of workers
    }
    with settings.temporary_settings(changed):
        yield


@pytest.fixture
def checkout() -> Path:
    """The directory of the checkout."""
    return Path(__file__).parent.parent
