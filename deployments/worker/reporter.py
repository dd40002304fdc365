"""Tells operators how the destinations are doing, as this worker sees them."""

import asyncio
import time

from flows.errors import Unavailable
from flows.jobs.destination_reports import Reports
from flows.lifecycle.runtime import Runtime

REPORT_INTERVAL = 30.0


class Reporter:
    """Looks at all destinations of a worker. ``flows.jobs.destination_reports`` has where that is read."""

    def __init__(self, runtime: Runtime, worker: str) -> None:
        self._runtime = runtime
        self._worker = worker
        self._reports = Reports(runtime.jobs.pool)

    async def report(self) -> None:
        """Raise Unavailable when the database is away."""
        await asyncio.gather(*(self._report(name) for name in self._runtime.config.destinations))

    async def _report(self, destination: str) -> None:
        error = None
        began = time.monotonic()
        try:
            async with asyncio.timeout(REPORT_INTERVAL):
                await self._runtime.destinations.check(destination)
        except TimeoutError:
            error = f"It did not answer for {REPORT_INTERVAL:g} s."
        except Unavailable as reason:
            error = str(reason)
        latency = time.monotonic() - began if error is None else None
        await self._reports.write(destination, self._worker, latency=latency, error=error)
