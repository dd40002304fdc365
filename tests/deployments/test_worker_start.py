"""A worker that is started while a part is away waits for it, and can be stopped meanwhile."""

import asyncio
import ctypes
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy import URL

from deployments.serving.postgres import EmbeddedPostgres
from tests.e2e.service import Service, free_port, until


def nowhere() -> str:
    return f"http://127.0.0.1:{free_port()}/api"


async def started(service: Service, **variables: str) -> subprocess.Popen[bytes]:
    variables = {"PREFECT_API_URL": nowhere(), "BARTENDER_LOG_LEVEL": "INFO", **variables}
    return service.command("worker", **variables)


def says(process: subprocess.Popen[bytes], said: bytearray, what: bytes) -> Callable[[], Awaitable[bool]]:
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    os.set_blocking(descriptor, False)

    async def look() -> bool:
        assert process.poll() is None, said.decode()
        try:
            said.extend(os.read(descriptor, 1 << 16))
        except BlockingIOError:
            return False
        return what in said

    return look


async def said_until_stopped(directory: Path, dsn: str, what: bytes) -> bytearray:
    """Start a worker, wait until it says that, stop it, and return all that it has said before."""
    worker = await started(Service(directory), BARTENDER_DB_DSN=dsn)
    said = bytearray()
    try:
        await until(says(worker, said, what))
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait, 180) == 0
        return said
    finally:
        worker.kill()
        worker.communicate()


async def test_a_database_that_is_away(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "postgres", {"fsync": "off"})
    await server.start()
    dsn = server.url("postgres").render_as_string(hide_password=False)
    await server.stop()
    said = await said_until_stopped(tmp_path, dsn, b" s: The database does not answer. (")
    assert b"Traceback" not in said


async def test_a_database_that_does_not_let_it_in(tmp_path: Path, database_url: URL) -> None:
    """A password may just be changing, so it waits; the log says for what."""
    dsn = database_url.set(password="hush").render_as_string(hide_password=False)
    refused = b"(InvalidPasswordError 28P01: password authentication failed for"
    said = await said_until_stopped(tmp_path, dsn, refused)
    assert b"Traceback" not in said
    assert b"hush" not in said


async def test_a_prefect_server_that_is_away(tmp_path: Path, database_url: URL) -> None:
    dsn = database_url.render_as_string(hide_password=False)
    await said_until_stopped(tmp_path, dsn, b"The Prefect server does not answer.")


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("http://nobody.invalid/api", "PREFECT_API_URL names a host that nobody knows: correct it."),
        ("localhost:4200/api", "PREFECT_API_URL is no address: it begins with http:// or https://."),
    ],
)
async def test_an_address_that_no_prefect_server_will_ever_have(
    tmp_path: Path, database_url: URL, url: str, what: str
) -> None:
    dsn = database_url.render_as_string(hide_password=False)
    worker = await started(Service(tmp_path), BARTENDER_DB_DSN=dsn, PREFECT_API_URL=url)
    said, _ = await asyncio.to_thread(worker.communicate)
    assert (worker.returncode, said.decode()) == (2, f"bartender: environment: {what}\n")


async def test_a_signal_that_another_thread_gets(tmp_path: Path, database_url: URL) -> None:
    """As the system may give it after a stop and continue."""
    dsn = database_url.render_as_string(hide_password=False)
    worker = await started(Service(tmp_path), BARTENDER_DB_DSN=dsn)
    try:
        await until(says(worker, bytearray(), b"The Prefect server does not answer."))
        others = {int(task.name) for task in Path(f"/proc/{worker.pid}/task").iterdir()} - {worker.pid}
        assert ctypes.CDLL(None).tgkill(worker.pid, min(others), signal.SIGTERM) == 0
        assert await asyncio.to_thread(worker.wait, 180) == 0
    finally:
        worker.kill()
        worker.communicate()
