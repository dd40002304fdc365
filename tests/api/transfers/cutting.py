"""A way to a server that breaks where a test wants it to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class CuttingProxy:
    """Passes bytes on to a port; each connection has the next of ``cuts``: (up, down), in bytes, then breaks.

    A direction with None, and connections after the last of them, do not break. ``made`` counts them.

    After ``hold`` bytes in one direction, all connections stand still until ``let_go``, which breaks them;
    ``held`` is set meanwhile.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.cuts: list[tuple[int | None, int | None]] = []
        self.made = 0
        self.hold: int | None = None
        self.held = asyncio.Event()
        self._let_go = asyncio.Event()
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["CuttingProxy"]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()

    def let_go(self) -> None:
        self.hold = None
        self.held.clear()
        self._let_go.set()
        self._let_go = asyncio.Event()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.made += 1
        up, down = self.cuts.pop(0) if self.cuts else (None, None)
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        ways = [
            asyncio.create_task(self._pass_on(reader, back, up)),
            asyncio.create_task(self._pass_on(there, writer, down)),
            asyncio.create_task(self._let_go.wait()),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for end in (back, writer):
            end.transport.abort()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: int | None
    ) -> None:
        passed = 0
        with suppress(ConnectionError):
            while block := await reader.read(1 << 16 if most is None else min(most - passed, 1 << 16)):
                writer.write(block)
                await writer.drain()
                passed += len(block)
                if passed == most:
                    return
                if self.hold is not None and passed >= self.hold:
                    self.held.set()
                    await asyncio.Event().wait()
