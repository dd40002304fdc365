"""Threads that read and write what comes and goes in the event loop.

They are threads of their own: a transfer may take hours, and would be in the way of all other work.
"""

import asyncio
import concurrent.futures
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from flows.errors import Unavailable
from flows.waiting.threads import to_the_end

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
        return await to_the_end(work, executor=self._executor, stop=self.stop)

    def stop(self) -> None:
        """Let the next wait, or the one that goes on, end in Stopped."""
        self._stopped = True
        if self._waiting is not None:
            self._waiting.cancel()

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """In the thread: wait for a coroutine of the loop. Raises Unavailable when it takes too long."""
        future: concurrent.futures.Future[T] = asyncio.run_coroutine_threadsafe(
            in_time(coroutine, self._host), self._loop
        )
        self._waiting = future
        if self._stopped:
            future.cancel()
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise Stopped from None


async def in_time(step: Coroutine[Any, Any, T], host: str) -> T:
    """Wait for one step of what comes and goes; raise Unavailable when it takes too long."""
    try:
        async with asyncio.timeout(IDLE_SECONDS):
            return await step
    except TimeoutError as error:
        raise Unavailable(f"{host} has moved no byte for {IDLE_SECONDS:g} s.") from error
