"""Pilots as processes, and the work pools that they take runs from."""

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from flows.pilots import pool
from flows.pilots.rest import Login, PrefectRest

_HASTY = """
import deployments.pilot.pilot as pilot
pilot.HEARTBEAT_INTERVAL = pilot.OWN_INTERVAL = 1.0
from api.cli import main
main()
"""
"""The command, which shows itself and looks at its runs more often."""


def new_pool() -> str:
    """Return a name that no other test has."""
    return f"pilots-{uuid.uuid4().hex[:8]}"


async def make_pool(name: str) -> None:
    """Make a pool and its deployment, as the service does."""
    async with prefect_rest() as rest:
        await pool.deployment(rest, name)


@asynccontextmanager
async def prefect_rest() -> AsyncIterator[PrefectRest]:
    rest = PrefectRest(Login.of_settings())
    try:
        yield rest
    finally:
        await rest.close()


class Pilot:
    """``bartender perform``; started again under its name, it is the next process of it."""

    def __init__(
        self, directory: Path, environment: Mapping[str, str], *options: str, is_hasty: bool = True
    ) -> None:
        self.log = directory / "pilot.log"
        self._directory = directory
        self._environment = {**os.environ, **environment, "BARTENDER_DATA_DIR": str(directory)}
        program = ["-c", _HASTY] if is_hasty else ["-m", "api"]
        self._command = [sys.executable, *program, "perform", *options]
        self.process: subprocess.Popen[bytes]

    def start(self) -> "Pilot":
        self._directory.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)
        return self

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(60)

    def wait(self) -> int:
        """Return the exit status, once it has ended."""
        return self.process.wait(180)

    def end(self) -> None:
        """End it, whatever was done to it."""
        if self.process.poll() is None:
            self.thaw()
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()

    @property
    def said(self) -> str:
        return self.log.read_text()


class Way:
    """A way by TCP to the server of a URL, which can be shut: what goes by it breaks then."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._there = str(parts.hostname), int(parts.port or 80)
        self._path = parts.path
        self._port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}{self._path}"

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            there = await asyncio.open_connection(*self._there)
            try:
                await asyncio.gather(_pass(reader, there[1]), _pass(there[0], writer))
            finally:
                there[1].close()
        except OSError:
            pass
        finally:
            writer.close()
            self._tasks.discard(task)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()
