"""Runs the steps of jobs without Prefect's engines: the calls, their results, their retries.

What Prefect is told is what its own engines would have: ``deployments.worker.notes``.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from prefect.utilities.math import clamped_poisson_interval

from deployments.worker.notes import RunNotes, TaskNotes
from deployments.worker.results import KeptResults
from flows.lifecycle.retries import RETRY_DELAYS, RETRY_JITTER, is_to_be_retried
from flows.lifecycle.tasks import task_of

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


class StepRuns:
    """Runs the steps of one flow run, each once: what is in ``found`` was returned before.

    ``is_ending`` says whether a cancellation ends the job; else the worker stops, and another goes on.
    """

    def __init__(
        self,
        notes: RunNotes,
        results: KeptResults,
        found: Mapping[str, Any],
        is_ending: Callable[[], bool],
    ) -> None:
        self._notes = notes
        self._results = results
        self._found = found
        self._is_ending = is_ending

    async def __call__(self, step: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it: ``flows.lifecycle.life.RunStep``."""
        task = task_of(step)
        names = step.__code__.co_varnames
        notes = self._notes.task(task.name, task.task_key, dict(zip(names, args, strict=False)) | kwargs)
        notes.running()
        key = self._results.key(task.name)
        if task.name in self._found:
            returned: R = self._found[task.name]
            notes.completed(returned, key, cached=True)
            return returned
        try:
            returned = await self._until_done(notes, task.name, lambda: step(*args, **kwargs))
        except asyncio.CancelledError:
            if self._is_ending():
                notes.crashed()
            raise
        except Exception as error:
            notes.failed(error)
            raise
        await self._keep(task.name, returned)
        notes.completed(returned, key)
        return returned

    async def _until_done(self, notes: TaskNotes, name: str, call: Callable[[], Awaitable[R]]) -> R:
        tries = 0
        while True:
            try:
                return await call()
            except Exception as error:
                if not await is_to_be_retried(self._notes.job.id, name, error):
                    raise
            delay = clamped_poisson_interval(RETRY_DELAYS[min(tries, len(RETRY_DELAYS) - 1)], RETRY_JITTER)
            tries += 1
            notes.awaiting_retry(delay)
            await asyncio.sleep(delay)
            notes.retrying()

    async def _keep(self, name: str, returned: object) -> None:
        try:
            await asyncio.to_thread(self._results.write, name, returned)
        except OSError as error:
            logger.warning(
                "What %s returned is not kept; after an interruption it runs again: %s", name, error
            )
