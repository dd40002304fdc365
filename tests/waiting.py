"""Waiting for what real servers do."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from flows.errors import Unavailable

T = TypeVar("T")

LONG_ENOUGH = 180.0
"""Seconds after which something that is waited for will not come, on a machine at load 10 either."""


async def until_it_works(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until the part is back, as tasks do."""
    deadline = time.monotonic() + LONG_ENOUGH
    while True:
        try:
            return await ask()
        except Unavailable:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG_ENOUGH
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
