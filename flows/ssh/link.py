"""One SSH connection that many share, made when it is needed and again after it was lost."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import asyncssh

from flows.errors import Unavailable
from flows.ssh.errors import LOST, described

logger = logging.getLogger(__name__)

SESSIONS = 5
"""Channels on a connection at once.

OpenSSH allows 10, and counts also those that have just been closed, until it has cleared them up: so when all
of them are exchanged at once, there are twice as many.
"""

LONGEST_DELAY = 30.0
_CLOSE_SECONDS = 5.0
_MOST_CUT = 2

Process = asyncssh.SSHClientProcess[bytes]
C = TypeVar("C", Process, asyncssh.SFTPClient)
Connect = Callable[[], AbstractAsyncContextManager[asyncssh.SSHClientConnection]]
Start = Callable[[asyncssh.SSHClientConnection], Awaitable[C]]


@dataclass(slots=True)
class HostHealth:
    """What is known of a host, since ``at``. ``latency``: seconds that opening the last channel took."""

    reachable: bool | None = None
    error: str | None = None
    latency: float | None = None
    at: datetime | None = None

    def seen(self, latency: float | None = None) -> None:
        """Note that the host answered; the last error is kept."""
        self.reachable, self.at = True, datetime.now(UTC)
        self.latency = self.latency if latency is None else latency

    def missed(self, error: str) -> None:
        """Note that the host could not be used."""
        self.reachable, self.error, self.at = False, error, datetime.now(UTC)


class SessionRefused(Unavailable):
    """The host answers, but does not do what was asked for: no commands, or no SFTP."""


class _Line:
    """A connection as it is now. ``cut`` are channels that the host may have sessions of yet."""

    def __init__(self, connection: asyncssh.SSHClientConnection, stack: AsyncExitStack) -> None:
        self.connection = connection
        self.close = stack.aclose
        self.users = 0
        self.cut = 0

    @property
    def usable(self) -> bool:
        return self.cut < _MOST_CUT and not self.connection.is_closed()

    async def end(self, channel: Process | asyncssh.SFTPClient) -> None:
        if isinstance(channel, asyncssh.SFTPClient):
            channel.exit()
        else:
            if channel.exit_status is None and not self.connection.is_closed():
                self.cut += 1
                with suppress(*LOST):
                    channel.kill()
            channel.close()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await channel.wait_closed()
        except (TimeoutError, *LOST):
            self.cut = _MOST_CUT


class Link:
    """Channels of a connection, for any number of callers.

    Nobody waits for a host that was away a moment ago: until the next attempt is due, callers get the error
    of the last one.
    """

    def __init__(self, name: str, connect: Connect, health: HostHealth) -> None:
        self.name = name
        self._connect = connect
        self._health = health
        self._line: _Line | None = None
        self._lines: set[_Line] = set()
        self._connecting: asyncio.Task[str | None] | None = None
        self._failures = 0
        self._not_before = 0.0
        self._error = ""
        self._free = asyncio.Semaphore(SESSIONS)
        self._used = 0
        self._allowed = SESSIONS
        self._withheld = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    @asynccontextmanager
    async def channel(self, start: Start[C], seconds: float) -> AsyncIterator[C]:
        """Open a channel within ``seconds``, once there is one to spare; close it at the end.

        Raises Unavailable. What becomes of the channel later is for the caller to see.
        """
        while True:
            await self._take()
            try:
                line = await self._connected()
            except BaseException:
                self._give_back()
                raise
            line.users += 1
            opening = asyncio.ensure_future(start(line.connection))
            try:
                channel = await self._opened(line, opening, seconds)
            except BaseException:
                self._spawn(self._finish(line, opening))
                raise
            if channel is not None:
                break
            await self._finish(line, None)
        try:
            yield channel
        finally:
            # By a task of its own: it may take a while, and the caller may be being cancelled.
            self._spawn(self._finish(line, opening))

    async def _opened(self, line: _Line, opening: asyncio.Future[C], seconds: float) -> C | None:
        """Return the channel, or None when it is to be tried again."""
        began, alone = time.monotonic(), self._used == 1
        try:
            async with asyncio.timeout(seconds):
                channel = await asyncio.shield(opening)
        except TimeoutError as error:
            raise self._unavailable(f"{self.name} does not answer in time.") from error
        except asyncssh.ChannelOpenError as error:
            if line.connection.is_closed():
                raise self._unavailable(f"The connection to {self.name} was lost.") from error
            if error.code == asyncssh.OPEN_REQUEST_SESSION_FAILED:
                raise SessionRefused(f"{self.name} opens no session for this ({error.reason}).") from error
            if line.cut:
                line.cut = _MOST_CUT
            elif alone and self._used == 1:
                raise self._unavailable(f"{self.name} opens no session ({error.reason}).") from error
            else:  # it allows fewer than OpenSSH does by default
                self._allowed = max(1, min(self._allowed, self._used - 1))
            return None
        except Exception as error:
            # When the connection is closed at that moment, asyncssh may end in an AssertionError or so.
            if not isinstance(error, LOST) and not line.connection.is_closed():
                raise
            raise self._unavailable(described(self.name, error)) from error
        self._health.seen(time.monotonic() - began)
        return channel

    async def _take(self) -> None:
        await self._free.acquire()
        self._used += 1

    def _give_back(self) -> None:
        self._used -= 1
        if self._withheld < SESSIONS - self._allowed:
            self._withheld += 1
        else:
            self._free.release()

    async def _finish(self, line: _Line, opening: asyncio.Future[C] | None) -> None:
        """Close the channel, if it comes to be one, and a connection that nobody can use any more."""
        try:
            if opening is not None:
                await self._end(line, opening)
        finally:
            line.users -= 1
            if not line.usable:
                if line is self._line:
                    self._line = None
                if line.users == 0:
                    self._spawn(self._hang_up(line))
            self._give_back()

    async def _end(self, line: _Line, opening: asyncio.Future[C]) -> None:
        done, _ = await asyncio.wait([opening], timeout=_CLOSE_SECONDS)
        if not done:
            line.cut = _MOST_CUT
            opening.cancel()
        elif not opening.cancelled() and opening.exception() is None:
            await line.end(opening.result())

    async def _connected(self) -> _Line:
        while True:
            if self._closed:
                raise Unavailable(f"The connection to {self.name} is closed.")
            if self._line is not None and self._line.usable:
                return self._line
            if self._connecting is None:
                if time.monotonic() < self._not_before:
                    raise Unavailable(self._error)
                self._forget_line()
                self._connecting = self._spawn(self._try_to_connect())
            # The attempt belongs to all who wait for it: it goes on when one of them is cancelled.
            await asyncio.wait([attempt := self._connecting])
            error = None if attempt.cancelled() else attempt.result()
            if error is not None:
                raise Unavailable(error)

    def _forget_line(self) -> None:
        line, self._line = self._line, None
        if line is not None and line.users == 0:
            self._spawn(self._hang_up(line))

    async def _hang_up(self, line: _Line) -> None:
        await line.close()
        self._lines.discard(line)

    async def _try_to_connect(self) -> str | None:
        """Connect; return what an operator should know when that fails."""
        stack = AsyncExitStack()
        began = time.monotonic()
        try:
            connection = await stack.enter_async_context(self._connect())
        except (Unavailable, ValueError, *LOST) as error:
            self._error = str(error) if isinstance(error, Unavailable) else described(self.name, error)
            delay = min(LONGEST_DELAY, 2.0**self._failures) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
            self._failures += 1
            self._not_before = time.monotonic() + delay
            self._health.missed(self._error)
            logger.warning("%s Trying again in %.1f s at the earliest.", self._error, delay, exc_info=error)
            return self._error
        else:
            self._line = _Line(connection, stack)
            self._lines.add(self._line)
            self._failures = 0
            self._allow_all()
            self._health.seen(time.monotonic() - began)
            return None
        finally:
            self._connecting = None

    def _allow_all(self) -> None:
        self._allowed = SESSIONS
        for _ in range(self._withheld):
            self._free.release()
        self._withheld = 0

    def _unavailable(self, text: str) -> Unavailable:
        self._health.missed(text)
        return Unavailable(text)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Close the connection. Callers that use it lose their channels."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        self._line = None
        await asyncio.gather(*(self._hang_up(line) for line in self._lines))
        while self._tasks:
            await asyncio.wait(self._tasks)
