"""How the destinations are doing, for those who choose among them: from rows and reports that are there."""

import asyncio
import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from flows.database.pool import Pool
from flows.jobs.destination_reports import Report, Reports
from flows.jobs.job import State
from flows.pickers import Condition

MAX_AGE = 1.0
"""Seconds for which jobs that come together share two questions to the database."""

_QUEUED = (State.NEW, State.QUEUED)
_RUNNING = (State.RUNNING, State.STAGING_OUT)


class Conditions:
    """What is known of all destinations, as ``worker`` has it; no scheduler is asked."""

    def __init__(self, pool: Pool, destinations: Collection[str], worker: str) -> None:
        self._reports = Reports(pool)
        self._worker = worker
        self._found = {name: Condition() for name in destinations}
        self._found_at = -math.inf
        self._turn = asyncio.Lock()

    async def found(self) -> Mapping[str, Condition]:
        """Return what is so now, or was less than a second ago: ``picked`` changes it.

        Raises Unavailable when the database is away.
        """
        async with self._turn:
            if time.monotonic() - self._found_at > MAX_AGE:
                await self._look()
        return MappingProxyType(self._found)

    async def _look(self) -> None:
        began = time.monotonic()
        reports, jobs = await self._reports.newest(), await self._reports.jobs_under_way()
        for name in self._found:
            self._found[name] = Condition(
                queued=sum(jobs.get((name, state), 0) for state in _QUEUED),
                running=sum(jobs.get((name, state), 0) for state in _RUNNING),
                reachable=_is_reachable([one for one in reports if one.destination == name], self._worker),
            )
        self._found_at = began

    def picked(self, name: str) -> None:
        """Count one more job that will wait there, so that those which come together do not pile up."""
        if name in self._found:
            condition = self._found[name]
            self._found[name] = replace(condition, queued=condition.queued + 1)


def _is_reachable(reports: Sequence[Report], worker: str) -> bool | None:
    # This worker's own counts, where there is one: it is the one who will hand the job over.
    own = [report for report in reports if report.worker == worker]
    seen = [report.reachable for report in own or reports]
    return all(seen) if seen else None
