"""What workers see of the destinations, for operators to read elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from flows.database.pool import Pool
from flows.jobs.job import State, job_table, metadata
from flows.jobs.rules import ACTIVE

MAX_AGE = 120.0
"""Seconds after which a report says nothing any more: its worker is gone."""

report_table = sa.Table(
    "destination_report",
    metadata,
    sa.Column("destination", sa.Text, primary_key=True),
    sa.Column("worker", sa.Text, primary_key=True),
    sa.Column("reachable", sa.Boolean, nullable=False),
    sa.Column("latency", sa.Float),
    sa.Column("checked_on", sa.DateTime(timezone=True), nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("error_on", sa.DateTime(timezone=True)),
)

_report = report_table.c
_job = job_table.c


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What one worker saw of a destination.

    ``latency`` in seconds, None where it was not reachable. ``error`` is the last one, of ``error_on``: the
    destination may be well again.
    """

    destination: str
    worker: str
    reachable: bool
    latency: float | None
    checked_on: datetime
    error: str | None
    error_on: datetime | None


class Reports:
    """All SQL about destinations. Raises Unavailable when the database is away."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def write(self, destination: str, worker: str, *, latency: float | None, error: str | None) -> None:
        """Note what was just seen: how long it took, or why it is not reachable."""
        seen: dict[str, object] = {
            "reachable": error is None,
            "latency": latency,
            "checked_on": sa.func.now(),
        }
        if error is not None:
            seen |= {"error": error, "error_on": sa.func.now()}
        insert = pg.insert(report_table).values(destination=destination, worker=worker, **seen)
        key = [_report.destination, _report.worker]
        await self._pool.fetch(insert.on_conflict_do_update(index_elements=key, set_=seen))

    async def newest(self) -> list[Report]:
        """Return the reports of workers that are there."""
        young = _report.checked_on > sa.func.now() - sa.cast(sa.text(f"'{MAX_AGE:g} s'"), sa.Interval)
        return [Report(**row) for row in await self._pool.fetch(sa.select(report_table).where(young))]

    async def jobs_under_way(self) -> Mapping[tuple[str | None, State], int]:
        """Return how many jobs are in which state at each destination; None is of those not picked yet."""
        statement = sa.select(_job.destination, _job.state, sa.func.count()).where(ACTIVE)
        rows = await self._pool.fetch(statement.group_by(_job.destination, _job.state))
        return {(destination, State(state)): count for destination, state, count in rows}
