"""One SSH connection that many share, made when it is needed and again after it was lost."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import asyncssh

from flows.errors import Unavailable, with_cause
from flows.ssh.errors import LOST, described
from flows.waiting.patience import Delays
from flows.waiting.spawned import Spawned

logger = logging.getLogger(__name__)

DELAYS = Delays(1.0, longest=30.0)
"""Between two tries to connect."""

DISTANCES = Delays(60.0, longest=3600.0, jitter=0.0)
"""Between two lines in the log that say the same."""

Connect = Callable[[], AbstractAsyncContextManager[asyncssh.SSHClientConnection]]


class Line:
    """A connection as it is now, kept open for its users. One that is ``worn`` gets no new ones.

    ``cut``: channels that were closed before their command had ended, so the host may have sessions of them.
    """

    def __init__(self, connection: asyncssh.SSHClientConnection, stack: AsyncExitStack) -> None:
        self.connection = connection
        self.close = stack.aclose
        self.users = 0
        self.cut = 0
        self.worn = False

    @property
    def usable(self) -> bool:
        """Whether it can have another user."""
        return not self.worn and not self.connection.is_closed()


class Reconnecting:
    """Nobody waits for a host that was away a moment ago.

    All who wait share an attempt; until the next one is due, callers get the error of the last.
    """

    def __init__(self, name: str, connect: Connect, renewed: Callable[[], None] = lambda: None) -> None:
        """``renewed`` is called when there is a new connection."""
        self.name = name
        self._connect = connect
        self._renewed = renewed
        self._line: Line | None = None
        self._lines: set[Line] = set()
        self._connecting: asyncio.Task[Unavailable | None] | None = None
        self._delays = iter(DELAYS)
        self._not_before = 0.0
        self._failure = Unavailable(f"{name} was not connected to yet.")
        self._complaints = _Complaints(name)
        self._tasks = Spawned()
        self._closed = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncssh.SSHClientConnection]:
        """Use the connection; it is not hung up before the end. Raises Unavailable when there is none."""
        line = await self.take()
        try:
            yield line.connection
        finally:
            self.give_back(line)

    async def take(self) -> Line:
        """Return the connection for one more user. Raises Unavailable when there is none."""
        while True:
            if self._closed:
                raise Unavailable(f"The connection to {self.name} is closed.")
            if self._line is not None and self._line.usable:
                self._line.users += 1
                return self._line
            if self._connecting is None:
                if time.monotonic() < self._not_before:
                    raise Unavailable(str(self._failure)) from self._failure
                self._forget_line()
                self._connecting = self._tasks.start(self._try_to_connect())
            # The attempt belongs to all who wait for it: it goes on when one of them is cancelled.
            await asyncio.wait([attempt := self._connecting])
            failure = None if attempt.cancelled() else attempt.result()
            if failure is not None:
                raise Unavailable(str(failure)) from failure

    def give_back(self, line: Line) -> None:
        """One user fewer; a connection that nobody can use any more is hung up."""
        line.users -= 1
        if not line.usable:
            if line is self._line:
                self._line = None
            if line.users == 0:
                self._hang_up(line)

    def _forget_line(self) -> None:
        line, self._line = self._line, None
        if line is not None and line.users == 0:
            self._hang_up(line)

    def _hang_up(self, line: Line) -> None:
        if line in self._lines:
            self._lines.remove(line)
            self._tasks.start(line.close())

    async def _try_to_connect(self) -> Unavailable | None:
        """Connect; return what an operator should know when that fails."""
        stack = AsyncExitStack()
        try:
            connection = await stack.enter_async_context(self._connect())
        except Unavailable as error:
            return self._failed(error)
        except (ValueError, *LOST) as error:
            failure = Unavailable(described(self.name, error))
            failure.__cause__ = error
            return self._failed(failure)
        else:
            self._line = Line(connection, stack)
            self._lines.add(self._line)
            self._delays = iter(DELAYS)
            self._complaints.settled()
            self._renewed()
            return None
        finally:
            self._connecting = None

    def _failed(self, failure: Unavailable) -> Unavailable:
        delay = next(self._delays)
        self._not_before = time.monotonic() + delay
        self._failure = failure
        self._complaints.hear(failure, delay)
        return failure

    async def close(self) -> None:
        """Close the connection. Who uses it loses it."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        self._line = None
        for line in list(self._lines):
            self._hang_up(line)
        await self._tasks.ended()


class _Complaints:
    """One line in the log when something is wrong; of the same again, fewer and fewer."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._said: str | None = None
        self._distances = iter(DISTANCES)
        self._not_before = 0.0

    def hear(self, failure: Unavailable, delay: float) -> None:
        text, now = with_cause(failure), time.monotonic()
        if text != self._said:
            self._said, self._distances = text, iter(DISTANCES)
        elif now < self._not_before:
            return
        self._not_before = now + next(self._distances)
        logger.warning("%s Trying again in %.1f s at the earliest.", text, delay)

    def settled(self) -> None:
        if self._said is not None:
            logger.info("%s is connected to again.", self._name)
        self._said = None
