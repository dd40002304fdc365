"""One way to wait for a part that is away."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from flows.errors import (
    Unavailable,
    with_cause,
)

logger = logging.getLogger(__name__)

R = TypeVar("R")


async def patiently(ask: Callable[[], Awaitable[R]], *, longest: float = 30.0) -> R:
    """Ask until the part that is needed answers; ``longest`` is in seconds, between two tries."""
    delay = 0.5
    while True:
        try:
            return await ask()
        except Unavailable as error:
            logger.warning("Trying again in %.1f s: %s", delay, with_cause(error))
            await asyncio.sleep(delay)
            delay = min(2 * delay, longest)
