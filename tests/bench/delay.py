"""Between a client and a server on this machine, as if they were far apart: ``python -m tests.bench.delay``.

A process of its own, so that it takes no time from the event loop of what is measured. Ends with its input.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

BLOCK = 64 << 10
_BLOCKS = 4096


class Delay:
    """Everything arrives so many seconds later, in both directions."""

    def __init__(self, port: int, seconds: float) -> None:
        self._port = port
        self._seconds = seconds

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pass(reader, there_writer))
                tasks.create_task(self._pass(there_reader, writer))
        except* ConnectionError:
            pass  # the other side sees it too
        finally:
            for one in (writer, there_writer):
                one.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        blocks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_BLOCKS)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read(reader, blocks))
            tasks.create_task(_write(blocks, writer))

    async def _read(self, reader: asyncio.StreamReader, blocks: asyncio.Queue[tuple[float, bytes]]) -> None:
        block = b"-"
        while block:
            block = await reader.read(BLOCK)
            await blocks.put((asyncio.get_running_loop().time() + self._seconds, block))


async def _write(blocks: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
    while True:
        due, block = await blocks.get()
        await asyncio.sleep(due - asyncio.get_running_loop().time())
        if not block:
            writer.write_eof()
            return
        writer.write(block)
        await writer.drain()


@asynccontextmanager
async def delayed(port: int, seconds: float) -> AsyncIterator[int]:
    """Start it before a port; yield the port to connect to instead."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.delay", str(port), str(seconds)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline())
    finally:
        process.kill()
        await process.wait()


async def main(port: int, seconds: float) -> None:
    server = await asyncio.start_server(Delay(port, seconds).handle, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
