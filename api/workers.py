"""What the API has to do with workers: it tells them of new jobs, and visitors when nobody runs theirs."""

import asyncio
import logging
import time
from contextlib import AsyncExitStack
from typing import Self

from flows.errors import Unavailable, with_cause
from flows.jobs.outbox import Outbox
from flows.waiting.cancelling import cancel
from flows.waiting.events import happens

logger = logging.getLogger(__name__)

INTERVAL = 5.0
"""Seconds between looks whether a worker is there."""

_AFTER_ERROR = 1.0


class Workers:
    """Those of the database, wherever they are."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._jobs_wait = asyncio.Event()
        self._look_again = 0.0
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        task = asyncio.create_task(self._run(), name="workers")
        self._stack.push_async_callback(cancel, [task])
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    def wake(self) -> None:
        """Tell them of a new job. Where that fails they find it by themselves, a little later."""
        self._jobs_wait.set()

    async def _run(self) -> None:
        while True:
            await happens(self._jobs_wait, within=INTERVAL)
            try:
                await self._tell_both()
            except Exception as error:
                trace = None if isinstance(error, Unavailable) else error
                logger.warning("Workers may hear late of new jobs: %s", with_cause(error), exc_info=trace)
                await asyncio.sleep(_AFTER_ERROR)

    async def _tell_both(self) -> None:
        if self._jobs_wait.is_set():
            self._jobs_wait.clear()  # one word for all that wait by now
            await self._outbox.tell_workers()
        if time.monotonic() >= self._look_again:
            await self._outbox.set_without_worker()
            self._look_again = time.monotonic() + INTERVAL
