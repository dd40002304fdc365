"""Work in threads that nobody is left alone with: a thread cannot be cancelled, so its end is waited for."""

import asyncio
import concurrent.futures
import contextvars
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def to_the_end(
    function: Callable[[], T],
    *,
    executor: concurrent.futures.Executor | None = None,
    stop: Callable[[], object] | None = None,
) -> T:
    """Call the function in a thread, of the loop's own executor if none is given; return its result.

    A cancellation calls ``stop``, which the function may heed, and goes on once the function has ended,
    however often it is cancelled meanwhile: until then its files may not be touched.
    """
    context = contextvars.copy_context()
    work = asyncio.get_running_loop().run_in_executor(executor, lambda: context.run(function))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        if stop is not None:
            stop()
        while not work.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([work])
        work.exception()  # looked at: the cancellation is what counts
        raise
