"""The embedded PostgreSQL: private, durable, and gone with whoever started it."""

import asyncio
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import URL

from deployments import migrations
from deployments.serving import launcher
from deployments.serving.postgres import EmbeddedPostgres
from flows.errors import ConfigurationError
from tests.waiting import LONG_ENOUGH


async def connect(url: URL, password: str | None = None) -> asyncpg.Connection:
    return await asyncpg.connect(
        host=str(url.query["host"]),
        user=url.username,
        password=url.password if password is None else password,
        database=url.database,
    )


def modes(path: Path) -> dict[Path, int]:
    return {parent: parent.stat().st_mode for parent in path.parents}


async def test_what_was_written_is_there_at_the_next_start(tmp_path: Path) -> None:
    before = modes(tmp_path / "x")
    for number in range(2):
        server = EmbeddedPostgres(tmp_path / "postgres")
        await server.start()
        try:
            await server.create_database("kept")
            await server.create_database("kept")
            connection = await connect(server.url("kept"))
            assert await connection.fetchval("SHOW fsync") == "on"
            assert await connection.fetchval("SHOW listen_addresses") == ""
            await connection.execute("CREATE TABLE IF NOT EXISTS seen (number int)")
            assert await connection.fetchval("SELECT count(*) FROM seen") == number
            await connection.execute("INSERT INTO seen VALUES (1)")
            await connection.close()
        finally:
            await server.stop()
    assert modes(tmp_path / "x") == before
    assert (tmp_path / "postgres").stat().st_mode & 0o777 == 0o700


async def test_a_connection_that_nobody_uses_is_closed_where_the_database_says_so(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "postgres")
    await server.start()
    try:
        await server.create_database("hasty")
        for _ in range(2):  # also one that is there
            await server.create_database("hasty", {"idle_session_timeout": "10ms"})
        closed = asyncio.Event()
        connection = await connect(server.url("hasty"))
        connection.add_termination_listener(lambda _: closed.set())
        async with asyncio.timeout(LONG_ENOUGH):
            await closed.wait()
    finally:
        await server.stop()


async def test_only_who_knows_the_password_gets_in(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "postgres")
    await server.start()
    try:
        for password in ("guess", "another"):
            with pytest.raises(
                (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)
            ):
                await connect(server.url("postgres"), password=password)
    finally:
        await server.stop()


async def test_a_graceful_end_has_the_time_that_it_needs(tmp_path: Path) -> None:
    """Its checkpoint may have to wait for a busy disk: here a process that is stopped for a while."""
    server = EmbeddedPostgres(tmp_path / "postgres")
    await server.start()
    connection = await connect(server.url("postgres"))
    checkpointer = await connection.fetchval(
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
    )
    await connection.close()
    os.kill(checkpointer, signal.SIGSTOP)
    try:
        stopping = asyncio.create_task(server.stop())
        done, _ = await asyncio.wait([stopping], timeout=4)
        assert not done
    finally:
        with suppress(ProcessLookupError):
            os.kill(checkpointer, signal.SIGCONT)
    await stopping
    log = (tmp_path / "postgres/log").read_text()
    assert "immediate shutdown" not in log
    assert "database system is shut down" in log


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be somebody else")
async def test_another_user_cannot_even_reach_the_socket(postgres: EmbeddedPostgres) -> None:
    uid, gid = launcher.unprivileged_ids()
    directory = str(postgres.url("postgres").query["host"])
    script = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1] + '/.s.PGSQL.5432')"
    )
    completed = await asyncio.to_thread(
        subprocess.run,
        ["/usr/bin/env", "python3", "-c", script, directory],
        user=uid,
        group=gid,
        extra_groups=[],
        cwd="/",
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert "PermissionError" in completed.stderr


async def test_a_long_path(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 100) / "postgres"
    directory.parent.mkdir()
    server = EmbeddedPostgres(directory)
    await server.start()
    elsewhere = Path(str(server.url("postgres").query["host"]))
    try:
        await (await connect(server.url("postgres"))).close()
        assert elsewhere.stat().st_mode & 0o777 == 0o700
    finally:
        await server.stop()
    assert not elsewhere.exists()


def has_ended(pid: int) -> bool:
    try:
        return "zombie" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


STARTER = """
import asyncio, sys
from pathlib import Path
from deployments.serving.postgres import EmbeddedPostgres
from tests.waiting import LONG_ENOUGH

async def main():
    server = EmbeddedPostgres(Path(sys.argv[1]))
    await server.start()
    print("started", flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


async def start_elsewhere(directory: Path, checkout: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(directory)],
        cwd=checkout,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await asyncio.to_thread(process.stdout.readline) == b"started\n"
    process.stdout.close()
    return process


async def test_it_ends_with_a_killed_starter_and_starts_again(tmp_path: Path, checkout: Path) -> None:
    starter = await start_elsewhere(tmp_path / "postgres", checkout)
    postmaster = int((tmp_path / "postgres/data/postmaster.pid").read_text().split("\n")[0])
    starter.kill()
    starter.wait()
    # At once: the next start waits for the one that is going down.
    server = EmbeddedPostgres(tmp_path / "postgres")
    await server.start()
    try:
        assert int((tmp_path / "postgres/data/postmaster.pid").read_text().split("\n")[0]) != postmaster
        assert has_ended(postmaster)
    finally:
        await server.stop()


@pytest.mark.parametrize("victim", ["all", "a backend"])
async def test_a_migration_that_it_dies_in_is_done_again(tmp_path: Path, victim: str) -> None:
    server = EmbeddedPostgres(tmp_path / "postgres")
    await server.start()
    try:
        await server.create_database("jobs")
        url = server.url("jobs")
        looks, holds = await connect(url), await connect(url)
        await holds.execute("BEGIN; CREATE TABLE alembic_version (version_num text)")
        upgrade = asyncio.create_task(server.until_done(lambda: migrations.upgrade(url)))
        waits = "SELECT pid FROM pg_stat_activity WHERE datname = 'jobs' AND wait_event_type = 'Lock'"
        async with asyncio.timeout(LONG_ENOUGH):
            while (pid := await looks.fetchval(waits)) is None:
                await asyncio.sleep(0.01)
            if victim == "all":
                pid = int((tmp_path / "postgres/data/postmaster.pid").read_text().split("\n")[0])
            os.kill(pid, signal.SIGKILL)
            await upgrade
        looks.terminate()
        holds.terminate()
        await migrations.check(url)
    finally:
        await server.stop()


async def test_work_that_cannot_be_done_is_not_repeated(
    postgres: EmbeddedPostgres, database_url: URL
) -> None:
    """As when the data directory is a newer version's."""
    connection = await connect(database_url)
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    await connection.close()
    with pytest.raises(ConfigurationError, match="schema 9999 of a newer Bartender"):
        await postgres.until_done(lambda: migrations.upgrade(database_url))


def test_the_launcher_sends_its_signal_when_the_parent_dies(checkout: Path) -> None:
    script = (
        "import subprocess, sys; from deployments.serving import launcher;"
        "command = launcher.wrap(['/bin/sleep', '1000'], death_signal=9);"
        "child = subprocess.Popen(command); print(child.pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=checkout,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    descriptor = os.pidfd_open(child)
    parent.kill()
    parent.wait()
    assert select.select([descriptor], [], [], 10)[0] == [descriptor]
    os.close(descriptor)
