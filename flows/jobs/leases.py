"""Workers in the database: each process that runs jobs has a number of its own and a lease that it renews.

The number is what fences: jobs keep the number of the process that runs them, and a process changes only jobs
that have its own, while its lease lasts. So one that was frozen, and whose jobs others took over or may take
over, changes nothing any more; nor does a statement of its that comes late. The clock is the
database server's.
"""

from datetime import datetime

import sqlalchemy as sa

from flows.database.pool import Pool
from flows.jobs.job import metadata

LEASE_SECONDS = 20.0
"""How long a worker that is not heard of keeps its jobs."""

RENEWAL_INTERVAL = 5.0

worker_table = sa.Table(
    "worker",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
    sa.Index(None, "name"),
)

_worker = worker_table.c
_fencing = worker_table.alias("fencing").c
_NOW = sa.func.clock_timestamp()
"""The statement's own time: a transaction's may be long past."""


def _from_now(seconds: float) -> sa.ColumnElement[object]:
    return _NOW + sa.cast(sa.text(f"'{seconds:g} seconds'"), sa.Interval)


IS_LIVE = _worker.lease_until > _NOW


def lasts(number: sa.ColumnElement[int] | int) -> sa.ColumnElement[bool]:
    """Return the condition that the lease of a process lasts; each change that a lease protects has it."""
    return sa.select(_fencing.id).where(_fencing.id == number, _fencing.lease_until > _NOW).exists()


_RENEW = (
    sa.update(worker_table)
    .where(_worker.id == sa.bindparam("number"), IS_LIVE)
    .values(lease_until=_from_now(LEASE_SECONDS))
    .returning(_worker.id)
)


class Leases:
    """All SQL about workers. Raises Unavailable when the database is away."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def begin(self, name: str, host: str) -> int:
        """Return the number of a new process of this name, with a lease; those before it lose theirs.

        ``host`` tells which local commands the process can see.
        """
        new = sa.insert(worker_table).values(name=name, host=host, lease_until=_from_now(LEASE_SECONDS))
        [[number]] = await self._pool.fetch(new.returning(_worker.id))
        # Not those after it: it may come late.
        await self._pool.fetch(_end(sa.and_(_worker.name == name, _worker.id < number)))
        return int(number)

    async def renew(self, number: int) -> bool:
        """Prolong the lease; False when it is over: then others may run the jobs."""
        return bool(await self._pool.fetch(_RENEW, number=number))

    async def end(self, number: int) -> None:
        """Let others take its jobs over at once; harmless when the lease is over."""
        await self._pool.fetch(_end(_worker.id == number))

    async def live_until(self, name: str) -> datetime | None:
        """Return when the newest lease of a name ends, None when there is none that lasts."""
        newest = sa.select(sa.func.max(_worker.lease_until)).where(_worker.name == name, IS_LIVE)
        [[until]] = await self._pool.fetch(newest)
        found: datetime | None = until
        return found


def _end(whose: sa.ColumnElement[bool]) -> sa.Update:
    return sa.update(worker_table).where(whose, IS_LIVE).values(lease_until=_NOW)
