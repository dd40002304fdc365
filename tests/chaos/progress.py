"""A line now and then from what takes many minutes."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from flows.waiting.cancelling import cancel

INTERVAL = 30.0


@asynccontextmanager
async def told(state: Callable[[], str]) -> AsyncIterator[None]:
    """Print the state at intervals, with the seconds since now, while the block runs."""
    began = time.monotonic()

    async def tell() -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            print(f"{time.monotonic() - began:5.0f} s: {state()}", flush=True)

    telling = asyncio.create_task(tell())
    try:
        yield
    finally:
        await cancel([telling])
