"""SQL about jobs that only the worker that runs them executes: it owns them, by its number."""

import uuid
from collections.abc import Collection
from functools import cache

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from flows.database.pool import Pool
from flows.errors import JobFailure, Superseded
from flows.jobs.job import TRANSITIONS, Job, State, job_table
from flows.jobs.leases import IS_LIVE, lasts, worker_table
from flows.jobs.not_begun import AS_MANY_AS_YOU_MAY, NO_MORE
from flows.jobs.rows import JobRows, change, from_row, storable
from flows.jobs.rules import ACTIVE, ENDED, MAY_RUN_AGAIN, in_states
from flows.jobs.shares import (
    BEGUN,
    HELD_BACK,
    TAKE_TURN_TO_CLAIM,
    RunningLimits,
    turns,
    with_turns_noted,
)

_job = job_table.c
_worker = worker_table.c
_owners_lease = _worker.id == _job.owner

# What one process does to one of its jobs. Statements about one job say which with these parameters.
_this = _job.id == sa.bindparam("job_id")
_by = sa.bindparam("by", type_=sa.BigInteger)
_may = sa.or_(_by.is_(None), lasts(_by))
OURS = sa.and_(sa.or_(_by.is_(None), _job.owner == _by), _may)
"""Whether a job is that of the process ``by``, and certainly of no other."""

_of_ours = sa.and_(_this, OURS)
_new_reason = sa.bindparam("new_reason", type_=sa.Text)
_new_scheduler_id = sa.bindparam("new_scheduler_id", type_=sa.Text)
_flow_run = sa.bindparam("flow_run", type_=sa.Uuid)


def _change(*where: sa.ColumnElement[bool], **values: object) -> sa.Executable:
    changed = sa.update(job_table).where(_of_ours, *where).values(**values, updated_on=sa.func.now())
    return changed.returning(job_table)


def _to(state: State, **values: object) -> sa.Executable:
    sources = [source for source, targets in TRANSITIONS.items() if state in targets]
    if state.is_final:
        values["ended_on"] = sa.func.now()
    return _change(in_states(sources), state=state.value, **values)


_SUBMITTED = _to(State.QUEUED, scheduler_id=_new_scheduler_id, reason=None)
_RESUBMITTED = _change(ACTIVE, scheduler_id=_new_scheduler_id, reason=None)
_ADVANCE = {state: _to(state, reason=_new_reason) for state in State}
_bytes = sa.func.coalesce(sa.bindparam("size", type_=sa.BigInteger), _job.bytes)
_COMPLETE = _to(State.OK, reason=None, reason_kind=None, bytes=_bytes)
_FAIL = _to(
    State.ERROR, reason=_new_reason, reason_kind=sa.bindparam("new_kind", type_=sa.Text), bytes=_bytes
)
_EXPLAIN = _change(ACTIVE, _job.reason.is_distinct_from(_new_reason), reason=_new_reason)
_new_destination = {
    "destination": sa.bindparam("new_destination", type_=sa.Text),
    "may_move": sa.bindparam("failover", type_=sa.Boolean),
}
_SET_DESTINATION = _change(ACTIVE, **_new_destination)
# What comes late of these changes nothing: each is about the destination that the job has until then.
_former = sa.bindparam("former", type_=sa.Text)
_may_leave = sa.and_(ACTIVE, _job.may_move, _job.destination == _former)
_left = sa.func.array_append(_job.left_behind, _former)
_MOVE = _change(_may_leave, **_new_destination, left_behind=_left, reason=None)
_STAY = _change(_may_leave, may_move=False)
_GIVE_FLOW_RUN = change(
    _this, ACTIVE, _job.flow_run_id.is_(None), _job.owner.is_(None), flow_run_id=_flow_run, recorded=True
)
_OWNED = sa.select(job_table).where(_of_ours)
_BY_FLOW_RUN = sa.select(job_table).where(_job.flow_run_id == _flow_run)


_most = sa.bindparam("most", type_=sa.Integer)
# Their flow run has their token as its id, but where Prefect's public API has made it.
_OWN = {"owner": _by, "reason": NO_MORE, "flow_run_id": sa.func.coalesce(_job.flow_run_id, _job.token)}


def _own(wanted: sa.ColumnElement[bool]) -> sa.Executable:
    waiting = sa.select(_job.id).where(wanted, _may).order_by(_job.id).limit(_most)
    ids = waiting.with_for_update(skip_locked=True, of=job_table).cte("waiting")
    statement = sa.update(job_table).where(_job.id.in_(sa.select(ids.c.id)), wanted)
    return statement.values(**_OWN).returning(job_table)


_UNCLAIMED = _job.owner.is_(None)
_UNCLAIMED_WITH_RUN = sa.and_(_UNCLAIMED, _job.flow_run_id.is_not(None))
_BEGUN = sa.select(sa.func.count()).where(BEGUN).scalar_subquery()
# Of NULL, which is without a limit, and a number, the number.
_WITHIN_LIMIT = sa.func.greatest(0, sa.func.least(_most, sa.bindparam("at_most", type_=sa.Integer) - _BEGUN))


@cache
def _claim(*, made_before: bool, with_limits: bool) -> sa.Executable:
    wanted = sa.and_(ACTIVE, _UNCLAIMED_WITH_RUN if made_before else _UNCLAIMED)
    in_turn = turns(wanted, _most, with_limits=with_limits)
    next_ones = (
        sa.select(_job.id, in_turn.c.turn)
        .join(in_turn, in_turn.c.id == _job.id)
        .where(wanted, _may)
        .order_by(in_turn.c.turn)
        .limit(_WITHIN_LIMIT)
        .with_for_update(skip_locked=True, of=job_table)
        .cte("next_ones")
    )
    update = sa.update(job_table).where(_job.id == next_ones.c.id, wanted).values(**_OWN)
    claimed = update.returning(job_table, next_ones.c.turn).cte("claimed")
    columns = [claimed.c[column.name] for column in _job]
    return sa.select(*columns).order_by(claimed.c.turn).add_cte(with_turns_noted(claimed))


@cache
def _claim_cancelled(*, made_before: bool) -> sa.Executable:
    return _own(sa.and_(ENDED, _job.cancel_requested, _UNCLAIMED_WITH_RUN if made_before else _UNCLAIMED))


_TAKE_OVER = _own(
    sa.and_(
        _job.owner.is_not(None),
        sa.not_(sa.select(_worker.id).where(_owners_lease, IS_LIVE).exists()),
        sa.or_(
            sa.func.coalesce(_job.destination, "") != sa.all_(sa.bindparam("local", type_=pg.ARRAY(sa.Text))),
            sa.select(_worker.id)
            .where(
                _owners_lease,
                sa.or_(_worker.host == sa.bindparam("host"), _worker.name == sa.bindparam("name")),
            )
            .exists(),
        ),
    )
)


class OwnedJobs(JobRows):
    """The jobs of one worker process.

    ``owner`` is its number (``flows.jobs.leases``). Changes of jobs of others raise Superseded: somebody took
    them over, because this process was not heard of for long; so does all when its lease is over. With None,
    jobs are changed whoever owns them.
    """

    def __init__(self, pool: Pool, owner: int | None = None) -> None:
        super().__init__(pool)
        self.owner = owner
        self._may = sa.true() if owner is None else lasts(owner)
        self._mine = sa.true() if owner is None else sa.and_(_job.owner == owner, self._may)
        self._kept: dict[int, Job] = {}

    # What is known of its own jobs without a question: nobody else changes how far they are

    async def known(self, job_id: int) -> Job:
        """Return the job as this process has left it; raise JobNotFound when there is none.

        What visitors change meanwhile, such as its name, or that they want it to end, may be missing.
        """
        return self._kept.get(job_id) or await self.get(job_id)

    def _keep(self, job: Job) -> Job:
        if self.owner is not None and job.owner == self.owner:
            self._kept[job.id] = job
        return job

    def forget(self, job_id: int) -> None:
        """Keep the job no longer, as it is not run here any more."""
        self._kept.pop(job_id, None)

    # Who runs what

    async def claim(
        self,
        *,
        limit: int = 100,
        at_most: int | None = None,
        of_each: RunningLimits | None = None,
        made_before: bool = False,
    ) -> list[Job]:
        """Own jobs that nobody has begun to run, in turn (``flows.jobs.shares``); return those it got.

        Those without a flow run get the id of one, their token; with ``made_before``, they are left to who
        makes it first. ``at_most`` is how many may run in all workers together, ``of_each`` of them of one
        submitter.
        """
        claim = _claim(made_before=made_before, with_limits=of_each is not None)
        limits = {} if of_each is None else of_each.values()
        async with self.pool.transaction() as transaction:
            await transaction.fetch(TAKE_TURN_TO_CLAIM)
            claimed = await transaction.fetch(claim, by=self.owner, most=limit, at_most=at_most, **limits)
        return [self._keep(from_row(row)) for row in claimed]

    async def claim_cancelled(self, *, limit: int = 100, made_before: bool = False) -> list[Job]:
        """Own jobs that were cancelled before anybody ran them: their flow runs do not know yet.

        They have ended, so no limit of what runs holds them back.
        """
        return await self._own(_claim_cancelled(made_before=made_before), limit)

    async def explain_unclaimed(
        self, reason: str | None, *, of_each: RunningLimits | None = None, made_before: bool = False
    ) -> None:
        """Let visitors read why no worker begins their jobs now: one of ``flows.jobs.not_begun``.

        Those that ``of_each`` holds back say that; without a reason, others say nothing new.
        """
        waiting, limits = _UNCLAIMED_WITH_RUN if made_before else _UNCLAIMED, {}
        if of_each is not None:
            limits = of_each.values()
            await self._explain_waiting(AS_MANY_AS_YOU_MAY, waiting, HELD_BACK, **limits)
            waiting = sa.and_(waiting, sa.not_(HELD_BACK))
        if reason is not None:
            await self._explain_waiting(reason, waiting, **limits)

    async def take_over(
        self, name: str, host: str, local_destinations: Collection[str], *, limit: int = 100
    ) -> list[Job]:
        """Own jobs whose owner is not heard of any more, ended ones too; return those it got.

        Commands of local destinations are only seen on the host that runs them, or by a worker of that name.
        """
        local = list(local_destinations)
        return await self._own(_TAKE_OVER, limit, name=name, host=host, local=local)

    async def _own(self, statement: sa.Executable, limit: int, **values: object) -> list[Job]:
        jobs = await self._all(statement, by=self.owner, most=limit, **values)
        return sorted(map(self._keep, jobs), key=lambda job: job.id)

    async def by_flow_run(self, flow_run_id: uuid.UUID) -> Job | None:
        """Return the job that this flow run runs, if any."""
        return await self._first(_BY_FLOW_RUN, flow_run=flow_run_id)

    async def flow_runs(self) -> set[uuid.UUID]:
        """Return the flow runs of all jobs that this process owns."""
        statement = sa.select(_job.flow_run_id).where(self._mine, _job.flow_run_id.is_not(None))
        return {flow_run_id for (flow_run_id,) in await self.pool.fetch(statement)}

    async def give_flow_run(self, job_id: int, flow_run_id: uuid.UUID) -> bool:
        """Let a job that waits be run by this flow run, which an operator made, when it is its turn.

        Returns False when the job is not there, has ended, or has another flow run or an owner.
        """
        return await self._is_done(_GIVE_FLOW_RUN, job_id=job_id, flow_run=flow_run_id)

    async def run_again(self, job: Job) -> Job | None:
        """Own a job that has ended, to run it once more for an operator; None when that may not be.

        The one way back from an end, which has to be the one that the operator has seen: ``job`` is the row
        from before.
        """
        again = sa.update(job_table).where(
            _job.id == job.id,
            _job.flow_run_id == job.flow_run_id,
            _job.ended_on == job.ended_on,
            MAY_RUN_AGAIN,
            _job.owner.is_(None),
            sa.not_(_job.cancel_requested),
            self._may,
        )
        values = {"state": State.NEW, "reason": "An operator runs the job again.", "reason_kind": None}
        return await self._first(
            again.values(
                **values,
                ended_on=None,
                expires_on=None,
                recorded=True,
                owner=self.owner,
                updated_on=sa.func.now(),
            ).returning(job_table)
        )

    async def release_flow_run(self, job: Job) -> bool:
        """Put the job back among those that wait for a flow run, where it has not been anywhere yet.

        Returns whether it has this flow run no more. One that has a destination keeps it, and its owner: any
        worker may begin what waits, but not any sees the commands of a local destination.
        """
        same = sa.and_(_job.id == job.id, _job.flow_run_id == job.flow_run_id)
        released = await self._is_done(
            change(
                same,
                self._mine,
                ACTIVE,
                _job.destination.is_(None),
                flow_run_id=None,
                recorded=False,
                owner=None,
            )
        )
        if released or (await self.get(job.id)).flow_run_id != job.flow_run_id:
            return True
        await self.owned(job.id)
        return False

    async def owned(self, job_id: int) -> Job:
        """Return the job; raise Superseded when it is, or may be, somebody else's by now.

        JobNotFound when it is gone.
        """
        job = await self._first(_OWNED, job_id=job_id, by=self.owner)
        if job is None:
            await self.get(job_id)
            raise Superseded(f"Job {job_id} was taken over by another worker, or may be: the lease is over.")
        return job

    async def to_cancel(self) -> list[Job]:
        """Return jobs under way that visitors want to end."""
        return await self._all(sa.select(job_table).where(self._mine, ACTIVE, _job.cancel_requested))

    # A job's life: what the flow's tasks need

    async def set_destination(self, job_id: int, destination: str, *, failover: bool = False) -> bool:
        """Write down where the job will run, unless it has ended; return whether it was.

        ``failover``: it may be moved from there.
        """
        return await self._change(_SET_DESTINATION, job_id, new_destination=destination, failover=failover)

    async def move(self, job_id: int, former: str, destination: str, *, failover: bool) -> bool:
        """Give the job another destination, where its command certainly was not handed over at the former.

        Returns whether it has it.
        """
        values = {"former": former, "new_destination": destination, "failover": failover}
        return await self._change(_MOVE, job_id, **values)

    async def stay(self, job_id: int, destination: str) -> bool:
        """Write down that the command is about to be handed over there; False when it may not be.

        From here on the job is not moved, whatever becomes of that.
        """
        return await self._change(_STAY, job_id, former=destination)

    async def submitted(self, job_id: int, scheduler_id: str) -> None:
        """Write down the id that the scheduler gave the job, which is then queued there."""
        await self._change(_SUBMITTED, job_id, new_scheduler_id=scheduler_id)

    async def resubmitted(self, job_id: int, scheduler_id: str) -> None:
        """Write down the id of a submission that takes the place of one that the scheduler lost."""
        await self._change(_RESUBMITTED, job_id, new_scheduler_id=scheduler_id)

    async def advance(self, job_id: int, state: State, reason: str | None = None) -> None:
        """Move the job to ``state`` where the table of transitions allows it; harmless when it is there.

        ``reason`` says why the job does not get on from there.
        """
        reason = reason and storable(reason)
        kept = self._kept.get(job_id)
        is_there = kept is not None and kept.state is state
        if is_there or not await self._change(_ADVANCE[state], job_id, new_reason=reason):
            await self.explain(job_id, reason)

    async def complete(self, job_id: int, *, size: int | None = None) -> bool:
        """End the job well; return whether it was this call that ended it.

        ``size``: the bytes of its files, where they were counted.
        """
        return await self._change(_COMPLETE, job_id, size=size)

    async def fail(self, job_id: int, failure: JobFailure, *, size: int | None = None) -> bool:
        """End the job with the reason that the visitor reads; as ``complete`` besides."""
        reason = storable(str(failure))
        return await self._change(_FAIL, job_id, new_reason=reason, new_kind=failure.kind, size=size)

    async def explain(self, job_id: int, reason: str | None) -> None:
        """Say why a job that is under way does not get on, or that it does again (None)."""
        reason = reason and storable(reason)
        kept = self._kept.get(job_id)
        if kept is not None and kept.reason == reason:
            return
        await self._change(_EXPLAIN, job_id, new_reason=reason)

    async def _change(self, statement: sa.Executable, job_id: int, **values: object) -> bool:
        changed = await self._first(statement, job_id=job_id, by=self.owner, **values)
        if changed is not None:
            self._keep(changed)
            return True
        if self.owner is not None:
            self._keep(await self.owned(job_id))
        return False
