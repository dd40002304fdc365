"""What tests of following a job share."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from sqlalchemy import URL

from api.app import create_app
from flows.database.pool import Pool
from flows.jobs.job import Job, State
from tests.all_jobs import AllJobs
from tests.api.conftest import Keys, Site, Wakings, no_workers, serving


@asynccontextmanager
async def own_site(
    environment: pytest.MonkeyPatch, url: URL, keys: Keys, data: Path, **options: Any
) -> AsyncIterator[Site]:
    """Serve on a database of the test's own."""
    environment.setenv("BARTENDER_DB_DSN", url.render_as_string(hide_password=False))
    app = create_app(open_workers=no_workers)
    pool = Pool(url)
    async with AsyncExitStack() as stack:
        # Clients are closed after the server: what they still follow must not keep it from ending.
        stack.push_async_callback(pool.close)
        clients = await stack.enter_async_context(AsyncExitStack())
        port = await stack.enter_async_context(serving(app, **options))
        site = Site(port, keys, AllJobs(pool), data, Wakings())
        site.stack = clients
        yield site


class Event(NamedTuple):
    name: str
    data: Any
    id: str | None


class Events:
    """A reader of server-sent events, as the standard says they are read."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self._events()

    async def _events(self) -> AsyncIterator[Event]:
        fields: dict[str, str] = {}
        async for line in self._lines:
            if line.startswith(":"):
                continue
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                yield Event(fields["event"], json.loads(fields["data"]), fields.get("id"))
                fields = {}

    async def next(self, name: str | None = None) -> Event:
        """Return the next event, or the next one of that name."""
        async for event in self._events():
            if name in (None, event.name):
                return event
        raise AssertionError("the stream has ended")

    async def text(self, expected: str, name: str = "stdout") -> str | None:
        """Read until the output is as expected; return the last id."""
        text = ""
        while text != expected:
            event = await self.next()
            if event.name == name:
                text += event.data
            assert expected.startswith(text)
        return event.id

    async def comment(self) -> None:
        """Wait for a comment."""
        async for line in self._lines:
            if line.startswith(":"):
                return
        raise AssertionError("the stream has ended")

    async def all(self) -> list[Event]:
        return [event async for event in self._events()]


@asynccontextmanager
async def events_of(client: httpx.AsyncClient, job: Job, **options: Any) -> AsyncIterator[Events]:
    async with client.stream("GET", f"/api/job/{job.id}/events", **options) as response:
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        yield Events(response)


async def running_job(site: Site, destination: str = "local", **files: bytes) -> tuple[Job, Path]:
    """Return a job whose command writes now, and its directory."""
    job = await site.new_job()
    await site.store.set_destination(job.id, destination)
    await site.store.advance(job.id, State.QUEUED)
    await site.store.advance(job.id, State.RUNNING)
    directory = site.job_dir(job)
    directory.mkdir(parents=True)
    for name, content in files.items():
        (directory / f"{name}.txt").write_bytes(content)
    return await site.store.get(job.id), directory


async def end(site: Site, job: Job) -> None:
    await site.store.advance(job.id, State.STAGING_OUT)
    await site.store.complete(job.id)


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)
