"""A way to PostgreSQL that loses answers, or falls silent."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import URL


class _Link:
    """One client's way to the server."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []
        self.is_silent = False
        self.comes_late = False


class PostgresProxy:
    """Listens on TCP for a PostgreSQL that listens on a socket in a directory.

    An answer in which one of ``lose`` is found is not passed on: instead the connection breaks. What is asked
    with one of ``delay`` in it waits on the way, as in a link that was cut.
    """

    def __init__(self, url: URL) -> None:
        self._url = url
        [self._path] = Path(str(url.query["host"])).glob(".s.PGSQL.*[0-9]")
        self._port = 0
        self._links: list[_Link] = []
        self._passes = asyncio.Event()
        self._passes.set()
        self.lose: list[re.Pattern[bytes]] = []
        self.delay: list[re.Pattern[bytes]] = []
        self._arrives = asyncio.Event()
        self.late_answered = asyncio.Event()

    @property
    def url(self) -> URL:
        return self._url.set(host="127.0.0.1", port=self._port, query={})

    @property
    def dsn(self) -> str:
        return self.url.render_as_string(hide_password=False)

    def fall_silent(self) -> None:
        """Pass nothing on any more: neither side learns of it, and who connects gets no answer."""
        self._passes.clear()
        for link in self._links:
            link.is_silent = True

    def come_back(self) -> None:
        """Pass on what comes by new connections. Those from before stay silent, as behind a new gateway."""
        self._passes.set()

    async def let_late_arrive(self) -> None:
        """Pass on what was delayed, whoever gave it up; return when the server has answered."""
        self._arrives.set()
        await self.late_answered.wait()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["PostgresProxy"]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            tasks = [task for link in self._links for task in link.tasks]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link()
        self._links.append(link)
        link.tasks.append(asyncio.create_task(self._serve(link, reader, writer)))

    async def _serve(self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._passes.is_set():
            link.is_silent = True
        there_reader, there_writer = await asyncio.open_unix_connection(str(self._path))
        try:
            up = asyncio.create_task(self._pass(link, reader, there_writer, [], self.delay))
            down = asyncio.create_task(self._pass(link, there_reader, writer, self.lose))
            link.tasks += [up, down]
            await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in (writer, there_writer):
                one.transport.abort()

    async def _pass(
        self,
        link: _Link,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        lose: list[re.Pattern[bytes]],
        delay: list[re.Pattern[bytes]] | None = None,
    ) -> None:
        while data := await reader.read(1 << 20):
            if link.is_silent:
                break
            if any(pattern.search(data) for pattern in delay or []):
                link.comes_late = True
                await self._arrives.wait()
                writer.write(data)
                await self.late_answered.wait()  # whoever asked may have gone
                continue
            if delay is None and link.comes_late and self._arrives.is_set():
                self.late_answered.set()
            if found := [pattern for pattern in lose if pattern.search(data)]:
                lose.remove(found[0])
                return
            writer.write(data)
            await writer.drain()
        if link.is_silent:
            await asyncio.Event().wait()  # nor does the other side learn that this one has gone
