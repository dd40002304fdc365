"""The schema: what the migrations make is what the code expects, and what else is found is explained."""

import asyncio
import os
import socket
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from sqlalchemy import URL

from deployments import migrations
from deployments.serving.postgres import EmbeddedPostgres
from flows.database.pool import Pool
from flows.errors import ConfigurationError
from tests.conftest import execute


async def alembic(checkout: Path, url: URL | None, *arguments: str) -> tuple[int | None, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BARTENDER_")}
    if url is not None:
        environment["BARTENDER_DB_DSN"] = url.render_as_string(hide_password=False)
    program = Path(sys.executable).with_name("alembic")
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        cwd=checkout,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


async def test_code_and_migrations_do_not_drift(checkout: Path, database_url: URL) -> None:
    status, output = await alembic(checkout, database_url, "check")
    assert status == 0, output
    assert "No new upgrade operations detected." in output


def test_revisions_are_known_by_the_names_of_their_files(checkout: Path) -> None:
    scripts = ScriptDirectory(str(checkout / "alembic"))
    assert migrations._revisions() == sorted(script.revision for script in scripts.walk_revisions())
    assert migrations._revisions()[-1] == scripts.get_current_head()


async def test_upgrade_and_downgrade_as_commands(checkout: Path, postgres: EmbeddedPostgres) -> None:
    await execute(postgres, "CREATE DATABASE by_command")
    url = postgres.url("by_command")
    with pytest.raises(ConfigurationError, match="has no tables of Bartender yet; run: alembic upgrade head"):
        await migrations.check(url)
    status, output = await alembic(checkout, url, "upgrade", "head")
    assert status == 0, output
    await migrations.check(url)
    status, output = await alembic(checkout, url, "downgrade", "base")
    assert status == 0, output
    with pytest.raises(ConfigurationError, match="alembic upgrade head"):
        await migrations.check(url)


async def test_a_migration_that_waits_for_a_lock_holds_none_of_those_before(
    checkout: Path, postgres: EmbeddedPostgres
) -> None:
    await execute(postgres, "CREATE DATABASE in_use")
    url = postgres.url("in_use")
    await alembic(checkout, url, "upgrade", "0010")
    pool = Pool(url)
    waiting = sa.text("SELECT 1 FROM pg_locks WHERE relation = 'job'::regclass AND NOT granted")
    async with pool.transaction() as busy:
        await busy.fetch(sa.text("LOCK TABLE job IN ROW EXCLUSIVE MODE"))
        upgrade = asyncio.create_task(alembic(checkout, url, "upgrade", "0012"))
        while not upgrade.done() and not await pool.fetch(waiting):
            await asyncio.sleep(0.05)
            await busy.fetch(sa.text("SELECT 1"))  # else it is ended as idle
        [[revision]] = await pool.fetch(sa.text("SELECT version_num FROM alembic_version"))
    status, output = await upgrade
    assert (status, revision) == (0, "0011"), output
    await pool.close()


async def test_command_without_database_says_what_to_set(checkout: Path) -> None:
    status, output = await alembic(checkout, None, "upgrade", "head")
    assert status == 1
    assert "BARTENDER_DB_HOST" in output
    assert len(output.splitlines()) == 1


async def test_upgrade_is_idempotent(database_url: URL) -> None:
    await migrations.upgrade(database_url)
    await migrations.check(database_url)


async def test_newer_schema_is_told_apart(database_url: URL, pool: Pool) -> None:
    await pool.fetch(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="schema 9999 of a newer Bartender"):
        await migrations.check(database_url)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def assert_explained(url: URL) -> str:
    with pytest.raises(ConfigurationError) as caught:
        await migrations.check(url)
    message = str(caught.value)
    assert "BARTENDER_DB_HOST" in message
    assert "hush" not in message
    assert "\n" not in message
    return message


async def test_unreachable_database() -> None:
    message = await assert_explained(
        URL.create("postgresql+asyncpg", "u", "hush", "127.0.0.1", free_port(), "bartender")
    )
    assert "127.0.0.1" in message


async def test_wrong_password_and_missing_database(database_url: URL) -> None:
    assert "password authentication failed" in await assert_explained(database_url.set(password="hush"))
    assert "does not exist" in await assert_explained(database_url.set(database="missing"))
