"""Threads that read and write what comes and goes in the event loop.

They are threads of their own: a transfer may take hours, and would be in the way of all other work.
"""

import asyncio
import concurrent.futures
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from flows.errors import Unavailable

T = TypeVar("T")

BLOCK = 1 << 20
"""Bytes that are moved at once."""

IDLE_SECONDS = 300.0
"""How long nothing may move, while the connection itself is alive."""


class Stopped(Exception):
    """The work in the thread is not wanted any more."""


class Bridge:
    """One piece of work in a thread, which can wait for coroutines and be stopped while it does."""

    def __init__(self, executor: concurrent.futures.Executor, host: str) -> None:
        self._executor = executor
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._waiting: concurrent.futures.Future[Any] | None = None
        self._stopped = False

    async def run(self, work: Callable[[], T]) -> T:
        """Return what the work returns. A cancellation stops it, and waits until it has ended."""
        future = self._loop.run_in_executor(self._executor, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            self.stop()
            await asyncio.wait([future])
            future.exception()  # looked at: the cancellation is what counts
            raise

    def stop(self) -> None:
        """Let the next wait, or the one that goes on, end in Stopped."""
        self._stopped = True
        if self._waiting is not None:
            self._waiting.cancel()

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """In the thread: wait for a coroutine of the loop. Raises Unavailable when it takes too long."""
        future: concurrent.futures.Future[T] = asyncio.run_coroutine_threadsafe(
            self._in_time(coroutine), self._loop
        )
        self._waiting = future
        if self._stopped:
            future.cancel()
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise Stopped from None

    async def _in_time(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                return await coroutine
        except TimeoutError as error:
            raise Unavailable(f"{self._host} has moved no byte for {IDLE_SECONDS:g} s.") from error
