"""Things that a process does over and over while it does others."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import httpx

from flows.errors import Unavailable, with_cause
from flows.waiting.patience import happens

logger = logging.getLogger(__name__)

Work = Callable[[], Awaitable[None]]


async def first(*events: asyncio.Event) -> None:
    """Wait for one of them."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def unless(event: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Await work, in this task; return False where the event ended that."""
    loop = asyncio.get_running_loop()
    wait = asyncio.create_task(event.wait())
    try:
        async with asyncio.timeout(None) as deadline:

            def end(_: object) -> None:
                deadline.reschedule(loop.time())

            wait.add_done_callback(end)
            try:
                await work
            finally:
                wait.remove_done_callback(end)
    except TimeoutError:
        if not deadline.expired():
            raise
        return False
    else:
        return True
    finally:
        wait.cancel()


async def repeat(function: Work, interval: float) -> None:
    """Call the function again and again, ``interval`` seconds after each end, whatever becomes of it."""
    while True:
        await _try(function)
        await asyncio.sleep(interval)


async def when_woken(woken: asyncio.Event, function: Work, interval: float) -> None:
    """Call the function when the event is set, and after ``interval`` seconds without it."""
    while True:
        woken.clear()
        await _try(function)
        await happens(woken, within=interval)


async def _try(function: Work) -> None:
    try:
        await function()
    except (httpx.HTTPError, OSError, Unavailable) as error:
        logger.warning("%s: %s", _name(function), with_cause(error))
    except Exception:
        logger.exception("%s failed; it is tried again", _name(function))


def _name(function: Work) -> str:
    return getattr(function, "__name__", repr(function)).strip("_")
