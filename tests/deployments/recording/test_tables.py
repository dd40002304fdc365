"""Prefect's tables are those that the route was written for: else it writes nothing."""

from importlib.metadata import version

import pytest

from deployments.recording.route import tables
from tests.deployments.recording.server import Server


async def test_the_tables_of_the_installed_version_are_known(server: Server) -> None:
    """If this fails: compare a run with a stock one (test_as_stock), then say here that they are known."""
    async with server.sql() as connection:
        assert await tables.difference(connection) is None
        assert await connection.fetchval("SELECT version_num FROM alembic_version") in tables.KNOWN
    assert version("prefect") in tables.KNOWN.values()


@pytest.mark.parametrize(
    ("change", "back", "named"),
    [
        (
            "ALTER TABLE flow_run ADD COLUMN shape text",
            "ALTER TABLE flow_run DROP COLUMN shape",
            "flow_run has other columns: shape text?",
        ),
        (
            "ALTER TABLE task_run_state ALTER COLUMN message SET NOT NULL",
            "ALTER TABLE task_run_state ALTER COLUMN message DROP NOT NULL",
            "task_run_state has other columns: message varchar, message varchar?",
        ),
        (
            "ALTER TABLE event_resources ALTER COLUMN resource TYPE jsonb",
            "ALTER TABLE event_resources ALTER COLUMN resource TYPE json",
            "event_resources has other columns",
        ),
        (
            "UPDATE alembic_version SET version_num = 'another'",
            "UPDATE alembic_version SET version_num = 'd4a7e1c93f52'",
            "revision another",
        ),
    ],
)
async def test_what_differs_is_named(server: Server, change: str, back: str, named: str) -> None:
    async with server.sql() as connection:
        await connection.execute(change)
        try:
            assert named in str(await tables.difference(connection))
        finally:
            await connection.execute(back)
        assert await tables.difference(connection) is None
