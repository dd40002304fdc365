"""Work in threads that nobody is left alone with: a thread cannot be cancelled, so its end is waited for."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def to_the_end(function: Callable[[], T], *, stop: threading.Event | None = None) -> T:
    """Call the function in a thread and return its result.

    A cancellation sets ``stop``, which the function may heed, and goes on once the function has ended: until
    then its files may not be touched.
    """
    work = asyncio.ensure_future(asyncio.to_thread(function))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        if stop is not None:
            stop.set()
        while not work.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([work])
        work.exception()  # looked at: the cancellation is what counts
        raise
