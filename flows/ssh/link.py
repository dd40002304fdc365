"""Channels of a connection that many share: for commands, and for SFTP."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import asyncssh

from flows.errors import Unavailable
from flows.ssh.errors import LOST, described
from flows.ssh.reconnecting import Connect, Line, Reconnecting
from flows.ssh.shell import Process
from flows.ssh.slots import Slots
from flows.waiting.spawned import Spawned

_CLOSE_SECONDS = 5.0
_MOST_CUT = 2

C = TypeVar("C", Process, asyncssh.SFTPClient)
Start = Callable[[asyncssh.SSHClientConnection], Awaitable[C]]


class Link:
    """For any number of callers; those for whom there is no slot wait."""

    def __init__(self, name: str, connect: Connect) -> None:
        self.name = name
        self._slots = Slots()
        self._connections = Reconnecting(name, connect, renewed=self._slots.widen)
        self._finishing = Spawned()

    @asynccontextmanager
    async def channel(self, start: Start[C], seconds: float) -> AsyncIterator[C]:
        """Open a channel within ``seconds``, once there is one to spare; close it at the end.

        Raises Unavailable. What becomes of the channel later is for the caller to see.
        """
        while True:
            line = await self._take()
            opening = asyncio.ensure_future(start(line.connection))
            try:
                channel = await self._opened(line, opening, seconds)
            except BaseException:
                self._finishing.start(self._finish(line, opening))
                raise
            if channel is not None:
                break
            await self._finish(line, None)
        try:
            yield channel
        finally:
            # By a task of its own: it may take a while, and the caller may be being cancelled.
            self._finishing.start(self._finish(line, opening))

    async def ready(self) -> None:
        """Return when there is a connection. Raises Unavailable."""
        async with self._connections.connection():
            pass

    async def _take(self) -> Line:
        await self._slots.take()
        try:
            return await self._connections.take()
        except BaseException:
            self._slots.give_back()
            raise

    async def _opened(self, line: Line, opening: asyncio.Future[C], seconds: float) -> C | None:
        """Return the channel, or None when it is to be tried again."""
        alone = self._slots.used == 1
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(opening)
        except TimeoutError as error:
            raise Unavailable(f"{self.name} does not answer in time.") from error
        except asyncssh.ChannelOpenError as error:
            if line.connection.is_closed():
                raise Unavailable(f"The connection to {self.name} was lost.") from error
            if error.code == asyncssh.OPEN_REQUEST_SESSION_FAILED:
                raise Unavailable(f"{self.name} opens no session for this ({error.reason}).") from error
            if line.cut:
                line.worn = True
            elif alone and self._slots.used == 1:
                raise Unavailable(f"{self.name} opens no session ({error.reason}).") from error
            else:  # it allows fewer than OpenSSH does by default
                self._slots.narrow()
            return None
        except Exception as error:
            # When the connection is closed at that moment, asyncssh may end in an AssertionError or so.
            if not isinstance(error, LOST) and not line.connection.is_closed():
                raise
            raise Unavailable(described(self.name, error)) from error

    async def _finish(self, line: Line, opening: asyncio.Future[C] | None) -> None:
        """Close the channel, if it comes to be one."""
        try:
            if opening is not None:
                await self._end(line, opening)
        finally:
            self._connections.give_back(line)
            self._slots.give_back()

    async def _end(self, line: Line, opening: asyncio.Future[C]) -> None:
        done, _ = await asyncio.wait([opening], timeout=_CLOSE_SECONDS)
        if not done:
            line.worn = True
            opening.cancel()
        elif not opening.cancelled() and opening.exception() is None:
            await self._close(line, opening.result())

    async def _close(self, line: Line, channel: Process | asyncssh.SFTPClient) -> None:
        if isinstance(channel, asyncssh.SFTPClient):
            channel.exit()
        else:
            if channel.exit_status is None and not line.connection.is_closed():
                line.cut += 1
                line.worn = line.worn or line.cut >= _MOST_CUT
                with suppress(*LOST):
                    channel.kill()
            channel.close()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await channel.wait_closed()
        except (TimeoutError, *LOST):
            line.worn = True

    async def close(self) -> None:
        """Close the connection. Callers that use it lose their channels."""
        await self._connections.close()
        await self._finishing.ended()
