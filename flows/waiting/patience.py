"""One way to wait for a part that is away: ask again, less and less often."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from flows.errors import BartenderError, Unavailable, with_cause

logger = logging.getLogger(__name__)

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Delays:
    """Seconds between tries: each ``factor`` times the one before, up to ``longest``.

    Each ``iter`` begins anew, with ``first``. Chance takes up to the part ``jitter`` of each delay away, lest
    those who failed together come again together.
    """

    first: float
    longest: float
    factor: float = 2.0
    jitter: float = 0.5

    def __iter__(self) -> Iterator[float]:
        """Yield delays without end."""
        delay = min(self.first, self.longest)
        while True:
            yield delay * random.uniform(1 - self.jitter, 1)  # noqa: S311 - no secret
            delay = min(self.factor * delay, self.longest)


PATIENT = Delays(0.5, longest=30.0)
_FORESEEN = (BartenderError, OSError)


async def patiently(
    ask: Callable[[], Awaitable[R]],
    *,
    delays: Delays = PATIENT,
    passing: type[Exception] | tuple[type[Exception], ...] = Unavailable,
    what: str | None = None,
) -> R:
    """Ask until the answer comes. ``passing`` errors are waited out, and logged as the reason of ``what``."""
    pauses = iter(delays)
    while True:
        try:
            return await ask()
        except passing as error:
            delay = next(pauses)
            again = f"{what}; trying again" if what else "Trying again"
            # Nobody can tell from its text alone where an error comes from that was not foreseen.
            trace = None if isinstance(error, _FORESEEN) else error
            logger.warning("%s in %.1f s: %s", again, delay, with_cause(error), exc_info=trace)
        await asyncio.sleep(delay)
