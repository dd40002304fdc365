"""Many followers of jobs, and slow ones."""

import asyncio
import re
import shutil
import socket
import tempfile
import uuid
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from sqlalchemy import URL

from api.files import open_file
from api.watching import INTERVAL, JobWatcher, TooManyOfUser, TooManyStreams
from deployments import migrations
from deployments.serving.postgres import EmbeddedPostgres
from flows.database.pool import Pool
from flows.jobs.job import Job
from flows.jobs.store import JobStore
from tests.api.conftest import Keys, Site
from tests.api.live.following import Events, append, end, events_of, own_site, running_job
from tests.statements import Asked
from tests.waiting import LONG_ENOUGH


async def new_jobs(store: JobStore, *users: str) -> list[Job]:
    return [
        await store.create(application="a", submitter=user, roles=[], command="x", token=uuid.uuid4())
        for user in users
    ]


async def test_limits(environment: pytest.MonkeyPatch, database_url: URL, keys: Keys, tmp_path: Path) -> None:
    environment.setenv("BARTENDER_MAX_STREAMS", "3")
    environment.setenv("BARTENDER_MAX_STREAMS_PER_USER", "2")
    async with own_site(environment, database_url, keys, tmp_path / "data") as site:
        job, bobs = await site.new_job(), await site.new_job("bob")
        alice, bob = await site.client("alice"), await site.client("bob")
        url = f"/api/job/{job.id}/events"
        async with AsyncExitStack() as held:
            for route in (url, f"/api/job/{job.id}/stdout?follow=true"):
                await held.enter_async_context(alice.stream("GET", route))
            for route in (url, f"/api/job/{job.id}/stderr?follow=true"):
                response = await alice.get(route)
                assert response.status_code == 429
                assert response.headers["Retry-After"]
                assert "2 jobs" in response.json()["detail"]
            async with bob.stream("GET", f"/api/job/{bobs.id}/events") as response:
                assert response.status_code == 200
                refused = await bob.get(f"/api/job/{bobs.id}/events")
                assert refused.status_code == 503
                assert "Too many" in refused.json()["detail"]
                assert (await bob.get(f"/api/job/{bobs.id}")).status_code == 200
        # Those who went away make room.
        async with asyncio.timeout(LONG_ENOUGH):
            status = 0
            while status != 200:
                async with alice.stream("GET", url) as response:
                    status = response.status_code


async def test_one_query_for_all(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    store = JobStore(pool)
    watcher = JobWatcher(store, most=100, most_of_user=100)
    jobs = await new_jobs(store, *["me"] * 10)
    asked = Asked(monkeypatch)
    followed = [watcher.open(job) for job in jobs * 5]
    await watcher._look()
    assert len(asked) == 1
    await store.rename(jobs[3].id, "new name")
    asked.clear()
    await watcher._look()
    assert len(asked) == 1
    names = {watched.job.name for watched in followed if watched.job and watched.job.id == jobs[3].id}
    assert names == {"new name"}
    for watched in followed:
        watcher.close(watched)
        watcher.close(watched)
    await watcher._look()
    assert len(asked) == 1


async def test_nobody_is_asked_while_nobody_follows(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    store = JobStore(pool)
    [job] = await new_jobs(store, "me")
    asked = Asked(monkeypatch)
    async with JobWatcher(store, most=1, most_of_user=1).running() as watcher:
        for _ in range(2):
            watched = watcher.open(job)
            with pytest.raises(TooManyOfUser):
                watcher.open(job)
            async with asyncio.timeout(LONG_ENOUGH):
                while not asked:
                    await asyncio.sleep(0.01)
            watcher.close(watched)
            await asyncio.sleep(2 * INTERVAL)  # a look may be under way
            asked.clear()
            await asyncio.sleep(3 * INTERVAL)
            assert not asked


async def test_the_process_has_a_limit(pool: Pool) -> None:
    store = JobStore(pool)
    jobs = await new_jobs(store, "one", "two", "three")
    watcher = JobWatcher(store, most=2, most_of_user=2)
    first = watcher.open(jobs[0])
    watcher.open(jobs[1])
    with pytest.raises(TooManyStreams):
        watcher.open(jobs[2])
    watcher.close(first)
    watcher.open(jobs[2])


async def stopped_reader(site: Site, path: str) -> socket.socket:
    """Ask, and read nothing of the answer but that there is one."""
    reader = socket.create_connection(("127.0.0.1", site.port))
    reader.sendall(f"GET {path}?token={site.keys.token()} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert (await asyncio.to_thread(reader.recv, 12)) == b"HTTP/1.1 200"
    return reader


async def test_a_stopped_reader_costs_little(
    site: Site, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 30_000_000
    job, _ = await running_job(site, stdout=b"x" * size)
    given = 0
    read = open_file.OpenFile.read_at_most

    def counting_read(file: open_file.OpenFile, position: int, length: int) -> bytes:
        nonlocal given
        content = read(file, position, length)
        given += len(content)
        return content

    monkeypatch.setattr(open_file.OpenFile, "read_at_most", counting_read)
    stopped = await stopped_reader(site, f"/api/job/{job.id}/events")
    assert (await alice.get(f"/api/job/{job.id}")).status_code == 200
    read_by_alice = 0
    async with events_of(alice, job) as stream:
        while read_by_alice < size:
            read_by_alice += len((await stream.next("stdout")).data)
    assert given < 2 * size
    stopped.close()


async def test_slow_readers_hold_no_connection_to_the_database(site: Site, alice: httpx.AsyncClient) -> None:
    job, _ = await running_job(site, stdout=b"x" * 30_000_000)
    stopped = [await stopped_reader(site, f"/api/job/{job.id}/events") for _ in range(15)]
    for _ in range(5):
        assert (await alice.get(f"/api/job/{job.id}")).status_code == 200
    for reader in stopped:
        reader.close()


async def test_the_server_stops_all_the_same(
    environment: pytest.MonkeyPatch, database_url: URL, keys: Keys, tmp_path: Path
) -> None:
    async with AsyncExitStack() as after, asyncio.timeout(LONG_ENOUGH):
        # It would wait for streams for ever.
        async with own_site(environment, database_url, keys, tmp_path / "data") as site:
            job, _ = await running_job(site, stdout=b"begun")
            client = await after.enter_async_context(httpx.AsyncClient(timeout=LONG_ENOUGH))
            url = f"http://127.0.0.1:{site.port}/api/job/{job.id}/events?token={keys.token()}"
            stream = Events(await after.enter_async_context(client.stream("GET", url)))
            await stream.text("begun")
        # A clean end: browsers then connect again, and go on after the last id.
        assert await stream.all() == []


async def test_a_stopped_reader_does_not_keep_the_server(
    environment: pytest.MonkeyPatch,
    database_url: URL,
    keys: Keys,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with asyncio.timeout(LONG_ENOUGH):
        data = tmp_path / "data"
        async with own_site(environment, database_url, keys, data, timeout_graceful_shutdown=1) as site:
            job, _ = await running_job(site, stdout=b"x" * 30_000_000)
            reader = await stopped_reader(site, f"/api/job/{job.id}/events")
    reader.close()
    assert "Exception" not in caplog.text
    assert not re.search(r"Cancel [1-9]", caplog.text)  # nothing was left to do, only the connection


async def test_followers_wait_for_the_database(
    environment: pytest.MonkeyPatch, keys: Keys, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Where the path of its socket is short: it then stays the same over a restart.
    place = Path(tempfile.mkdtemp())
    server = EmbeddedPostgres(place / "postgres", {"fsync": "off"})
    await server.start()
    try:
        await server.create_database("jobs")
        await migrations.upgrade(server.url("jobs"))
        async with own_site(environment, server.url("jobs"), keys, tmp_path / "data") as site:
            job, directory = await running_job(site, stdout=b"")
            async with events_of(await site.client(), job) as stream:
                await stream.next()
                await server.stop()
                async with asyncio.timeout(LONG_ENOUGH):
                    while "Whoever follows a job waits" not in caplog.text:
                        await asyncio.sleep(0.05)
                append(directory / "stdout.txt", b"goes on")
                await stream.text("goes on")
                await server.start()
                await site.store.pool.close()
                await end(site, job)
                [last] = await stream.all()
                assert last.data["state"] == "ok"
                assert caplog.text.count("Whoever follows a job waits") == 1
    finally:
        await server.stop()
        shutil.rmtree(place)
