"""PUT that goes wrong half way: nothing is left of it, and nothing is lost."""

import asyncio
import errno
import os
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import asyncpg
import httpx
import pytest

from api.http import bodies
from api.submission import archive_file
from flows import archives
from flows.database.errors import NotAsked, NotLetIn
from flows.disk.durability import fsync
from flows.errors import Unavailable
from flows.jobs.job import Job
from flows.jobs.store import JobStore
from tests.api.conftest import README_ZIP, Site
from tests.flows.archives.making import make_zip
from tests.services.processes import connection_sockets
from tests.waiting import LONG_ENOUGH

ZIP = {"Content-Type": "application/zip"}
ROUTES = ["/api/application/wc", "/api/application/wc/job"]


async def send_half(site: Site, form: str) -> asyncio.StreamWriter:
    headers = [
        f"PUT {ROUTES[0]} HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {site.keys.token()}",
        "Content-Length: 5000000",
        f"Content-Type: {'application/zip' if form == 'bare' else 'multipart/form-data; boundary=x'}",
    ]
    _, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write("\r\n".join(headers).encode() + b"\r\n\r\n")
    writer.write(b"--x\r\nContent-Disposition: form-data; name=upload\r\n\r\n" + b"x" * 2_500_000)
    await writer.drain()
    async with asyncio.timeout(LONG_ENOUGH):
        while not site.uploads():
            await asyncio.sleep(0.01)
    return writer


async def nothing_is_left_soon(site: Site) -> None:
    async with asyncio.timeout(LONG_ENOUGH):
        while not await site.nothing_is_left():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("form", ["multipart", "bare"])
async def test_disconnect_half_way_leaves_nothing(site: Site, form: str) -> None:
    writer = await send_half(site, form)
    writer.transport.abort()
    await nothing_is_left_soon(site)


async def test_disconnect_just_before_the_end_leaves_nothing(site: Site) -> None:
    """What has arrived would be a good archive, but not all that was announced has."""
    large = bodies.BATCH + 1  # so that the disk tells that it was read
    archive = make_zip([("README.md", b"word\n"), ("large", os.urandom(large))], zipfile.ZIP_STORED)
    _, writer = await asyncio.open_connection("127.0.0.1", site.port)
    head = f"PUT {ROUTES[0]} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {site.keys.token()}\r\n"
    head += f"Content-Type: application/zip\r\nContent-Length: {len(archive) + 1}\r\n\r\n"
    writer.write(head.encode() + archive)
    await writer.drain()
    async with asyncio.timeout(LONG_ENOUGH):
        while not any(path.stat().st_size for path in site.uploads()):
            await asyncio.sleep(0.01)
    writer.close()
    await nothing_is_left_soon(site)


async def test_stalled_upload_leaves_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "STALLED_AFTER", 0.2)
    writer = await send_half(site, "bare")
    await nothing_is_left_soon(site)
    writer.close()


async def test_full_disk(site: Site, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = archive_file.Archive._opened

    class Full:
        def __init__(self, file: BinaryIO) -> None:
            self.close = file.close

        def write(self, _data: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archive_file.Archive, "_opened", lambda self: Full(opened(self)))
    response = await alice.put(ROUTES[0], content=README_ZIP, headers=ZIP)
    assert response.status_code == 507
    assert response.headers["Retry-After"]
    assert await site.nothing_is_left()


def test_a_late_write_does_not_bring_a_discarded_archive_back(tmp_path: Path) -> None:
    archive = archive_file.Archive(tmp_path / "a.zip", limit=10)
    archive.write(b"abc")
    archive.discard()
    archive.write(b"def")
    assert not list(tmp_path.iterdir())


def refusing(cause: Exception) -> Any:
    async def create(_store: JobStore, **_values: Any) -> None:
        if isinstance(cause, Unavailable):
            raise cause
        raise Unavailable("The database does not answer.") from cause

    return create


@pytest.mark.parametrize(
    ("cause", "is_kept"),
    [
        (NotAsked("There was no connection."), False),
        (NotLetIn("The password is another."), False),
        (asyncpg.CannotConnectNowError("it starts"), False),
        (asyncpg.ReadOnlySQLTransactionError("no writes"), False),
        # The job may be in the database: then it needs its archive.
        (asyncpg.ConnectionDoesNotExistError("broken"), True),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
    ],
)
async def test_database_goes_away(
    site: Site, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, cause: Exception, is_kept: bool
) -> None:
    monkeypatch.setattr(JobStore, "create", refusing(cause))
    response = await alice.put(ROUTES[0], content=README_ZIP, headers=ZIP)
    assert response.status_code == 503
    assert response.headers["Retry-After"]
    assert bool(site.uploads()) == is_kept


async def test_an_answer_that_is_lost_is_asked_for(
    site: Site, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = JobStore.create

    async def then_break(store: JobStore, **values: Any) -> Job:
        await create(store, **values)
        raise Unavailable("The database does not answer.") from ConnectionResetError()

    monkeypatch.setattr(JobStore, "create", then_break)
    response = await alice.put(ROUTES[0], content=README_ZIP, headers=ZIP)
    assert response.status_code == 303
    [job] = await site.jobs()
    assert response.headers["Location"].endswith(f"/{job.id}")
    assert len(site.uploads()) == 1


async def test_unexpected_error_leaves_nothing(
    site: Site, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(*_arguments: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(archives, "check", check)
    response = await alice.put(ROUTES[0], content=README_ZIP, headers=ZIP)
    assert response.status_code == 500
    assert "a bug" not in response.text
    assert response.headers["Connection"] == "close"
    assert await site.nothing_is_left()


async def test_durable_before_the_row(
    site: Site, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Archive and directory are synchronised, then the row is made, then workers are woken."""
    events: list[str] = []
    create = JobStore.create

    def recording_fsync(path: Path) -> None:
        fsync(path)
        events.append("directory" if path.is_dir() else "archive")

    async def recording_create(store: JobStore, **values: Any) -> Job:
        events.append("row" if site.uploads() and not site.wakings.count else "too early")
        return await create(store, **values)

    monkeypatch.setattr(archive_file, "fsync", recording_fsync)
    monkeypatch.setattr(JobStore, "create", recording_create)
    assert (await alice.put(ROUTES[0], content=README_ZIP, headers=ZIP)).status_code == 303
    assert events == ["archive", "directory", "row"]
    assert site.wakings.count == 1


async def test_visitor_who_goes_away_after_the_last_byte_still_has_a_job(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, begun, gone = JobStore.create, asyncio.Event(), asyncio.Event()

    async def slow_create(store: JobStore, **values: Any) -> Job:
        begun.set()
        await gone.wait()
        return await create(store, **values)

    monkeypatch.setattr(JobStore, "create", slow_create)
    before = connection_sockets(site.port)
    client = await site.client()
    asking = asyncio.create_task(client.put(ROUTES[0], content=README_ZIP, headers=ZIP))
    await begun.wait()
    asking.cancel()
    async with asyncio.timeout(LONG_ENOUGH):
        while not connection_sockets(site.port) - {"0"} <= before:  # the server has closed its end, too
            await asyncio.sleep(0.02)
    gone.set()
    async with asyncio.timeout(LONG_ENOUGH):
        while not await site.jobs():
            await asyncio.sleep(0.02)
    assert len(site.uploads()) == 1
