"""How many channels are open on a connection at once."""

import asyncio

SESSIONS = 5
"""At first.

OpenSSH allows 10, and counts also those that have just been closed, until it has cleared them up: so when all
of them are exchanged at once, there are twice as many.
"""


class Slots:
    """One for each channel; fewer once the host has refused one that there was a slot for."""

    def __init__(self) -> None:
        self.used = 0
        self._free = asyncio.Semaphore(SESSIONS)
        self._allowed = SESSIONS
        self._withheld = 0

    async def take(self) -> None:
        """Wait for a free one."""
        await self._free.acquire()
        self.used += 1

    def give_back(self) -> None:
        """Let somebody else have it, unless there are to be fewer."""
        self.used -= 1
        if self._withheld < SESSIONS - self._allowed:
            self._withheld += 1
        else:
            self._free.release()

    def narrow(self) -> None:
        """One fewer than are used now: the host has just refused a channel."""
        self._allowed = max(1, min(self._allowed, self.used - 1))

    def widen(self) -> None:
        """As many as at first: the connection is a new one."""
        self._allowed = SESSIONS
        for _ in range(self._withheld):
            self._free.release()
        self._withheld = 0
