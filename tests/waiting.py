"""Waiting for what real servers do."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from flows.errors import Unavailable

T = TypeVar("T")

A_MINUTE = 60.0


async def until_it_works(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until the part is back, as tasks do."""
    deadline = time.monotonic() + A_MINUTE
    while True:
        try:
            return await ask()
        except Unavailable:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + A_MINUTE
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
