"""Things that a process does over and over while it does others."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import httpx

from flows.errors import Unavailable, with_cause
from flows.prefect_api import unavailable_when_prefect_is_away
from flows.waiting.events import happens

logger = logging.getLogger(__name__)

Work = Callable[[], Awaitable[None]]


async def repeat(function: Work, interval: float) -> None:
    """Call the function again and again, ``interval`` seconds after each end, whatever becomes of it."""
    while True:
        await _try(function)
        await asyncio.sleep(interval)


async def when_woken(woken: asyncio.Event, function: Work, interval: float | Callable[[], float]) -> None:
    """Call the function when the event is set, and after ``interval`` seconds without it."""
    while True:
        woken.clear()
        await _try(function)
        await happens(woken, within=interval if isinstance(interval, float) else interval())


async def _try(function: Work) -> None:
    try:
        with unavailable_when_prefect_is_away():
            await function()
    except (httpx.HTTPError, OSError, Unavailable) as error:
        logger.warning("%s: %s", _name(function), with_cause(error))
    except Exception:
        logger.exception("%s failed; it is tried again", _name(function))


def _name(function: Work) -> str:
    return getattr(function, "__name__", repr(function)).strip("_")
