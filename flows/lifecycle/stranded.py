"""Jobs whose commands are on a machine that has no worker any more: they wait for one there."""

import uuid
from collections.abc import Collection
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from flows.errors import JobCancelled
from flows.jobs.end_requests import CANCELLED_BY_VISITOR
from flows.jobs.job import Job, State, job_table
from flows.jobs.leases import worker_table
from flows.jobs.owned import OwnedJobs
from flows.jobs.rules import ACTIVE, ENDED
from flows.lifecycle.ending import CANCELLED_BY_OPERATOR
from flows.lifecycle.runtime import Runtime

PATIENCE = timedelta(seconds=10)
"""How long after the end of its lease a worker may come back before its jobs count as stranded."""

_job = job_table.c
_owner = worker_table.alias("gone").c
_other = worker_table.alias("other").c
_NOW = sa.func.clock_timestamp()

_SEEN_BY_ANOTHER = (
    sa.select(_other.id)
    .where(_other.lease_until > _NOW, sa.or_(_other.host == _owner.host, _other.name == _owner.name))
    .exists()
)
_MACHINE = sa.func.coalesce(sa.func.nullif(sa.func.split_part(_owner.host, " ", 1), ""), _owner.name)
_REASON = sa.func.concat("Waiting for the machine ", _MACHINE, ", where the command is; no worker is there.")


class StrandedJobs(OwnedJobs):
    """All SQL about them, for a worker whose own lease lasts.

    The owner stays written down, for it is what tells the machine.
    """

    async def explain_stranded(self, local_destinations: Collection[str]) -> None:
        """Write down for visitors which machine their jobs wait for; it goes when the jobs go on."""
        explain = sa.update(job_table).where(
            *self._stranded(local_destinations), ACTIVE, _job.reason.is_distinct_from(_REASON)
        )
        await self.pool.fetch(explain.values(reason=_REASON, updated_on=sa.func.now()))

    async def end_stranded(
        self, local_destinations: Collection[str], cancelled: Collection[uuid.UUID]
    ) -> list[Job]:
        """End those that visitors cancelled or deleted, or whose flow run is among ``cancelled``.

        They are settled then, as are those that had ended. Returns all of them: their flow runs do not know.
        """
        end = sa.update(job_table).where(
            *self._stranded(local_destinations),
            sa.or_(ENDED, _job.cancel_requested, _job.flow_run_id.in_(cancelled)),
        )
        who = sa.case((_job.cancel_requested, str(CANCELLED_BY_VISITOR)), else_=str(CANCELLED_BY_OPERATOR))

        def unless_ended(column: sa.Column[Any], value: object) -> sa.ColumnElement[Any]:
            return sa.case((ENDED, column), else_=value)

        return await self._all(
            end.values(
                owner=None,
                cancel_requested=False,
                state=unless_ended(_job.state, State.ERROR.value),
                reason=unless_ended(_job.reason, who),
                reason_kind=unless_ended(_job.reason_kind, JobCancelled.kind),
                ended_on=unless_ended(_job.ended_on, sa.func.now()),
                updated_on=unless_ended(_job.updated_on, sa.func.now()),
            ).returning(job_table)
        )

    def _stranded(self, local_destinations: Collection[str]) -> tuple[sa.ColumnElement[bool], ...]:
        # One whose own lease is over might take itself for gone.
        return (
            _job.owner == _owner.id,
            _job.destination.in_(local_destinations),
            _owner.lease_until < _NOW - PATIENCE,
            sa.not_(_SEEN_BY_ANOTHER),
            self._may,
        )


async def see_to_stranded_jobs(runtime: Runtime, cancelled: Collection[uuid.UUID]) -> list[Job]:
    """End those that somebody wants to end, and let the others say what they wait for.

    The commands are left alone, as is what is written down of them: the worker of that machine ends and
    forgets them when it is back, like all commands without a job under way
    (``flows.upkeep.leftover_commands``).
    """
    local = runtime.local_destinations
    jobs = StrandedJobs(runtime.jobs.pool, runtime.jobs.owner)
    ended = await jobs.end_stranded(local, cancelled)
    await jobs.explain_stranded(local)
    return ended
