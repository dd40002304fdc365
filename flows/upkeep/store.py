"""SQL about jobs that only the scheduled flows need."""

import uuid
from collections.abc import Callable, Collection, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import sqlalchemy as sa

from flows.jobs.job import Job, job_table
from flows.jobs.rows import JobRows, change
from flows.jobs.rules import ACTIVE
from flows.jobs.shares import submitter_table

_job = job_table.c
_submitter = submitter_table.c
_CHUNK = 1000

K = TypeVar("K")


def chunks(keys: Collection[K]) -> Iterator[list[K]]:
    """Return the keys, a thousand at most at a time."""
    everything = list(keys)
    for start in range(0, len(everything), _CHUNK):
        yield everything[start : start + _CHUNK]


_dates = sa.func.greatest(
    _submitter.last_turn_on, _submitter.hour_began_on
)  # of NULL and a moment, the moment
_FORGET = sa.delete(submitter_table).where(
    _dates < sa.func.now() - timedelta(days=1),
    sa.not_(sa.select(_job.id).where(_job.submitter == _submitter.name).exists()),
)


class UpkeepStore(JobRows):
    """The store of those who look after all jobs at once."""

    async def by_tokens(self, tokens: Collection[uuid.UUID]) -> dict[uuid.UUID, Job]:
        """Return the jobs of these tokens that there are."""
        return await self._by(_job.token, tokens, lambda job: job.token)

    async def with_ids(self, ids: Collection[int]) -> dict[int, Job]:
        """Return the jobs of these ids that there are."""
        return await self._by(_job.id, ids, lambda job: job.id)

    async def by_flow_runs(self, flow_runs: Collection[uuid.UUID]) -> dict[uuid.UUID, Job]:
        """Return the jobs of these flow runs that there are."""
        return {
            flow_run_id: job
            for flow_run_id, job in (await self._by(_job.flow_run_id, flow_runs, _flow_run_of)).items()
            if flow_run_id is not None
        }

    async def under_way(self) -> dict[uuid.UUID, Job]:
        """Return all jobs under way that Prefect has a flow run of, by it."""
        jobs = await self._all(sa.select(job_table).where(ACTIVE, _job.recorded))
        return {job.flow_run_id: job for job in jobs if job.flow_run_id is not None}

    async def forget_flow_run(self, job: Job) -> bool:
        """Let a job that nobody runs have another flow run, as this one is gone; return whether it does."""
        return await self._is_done(
            change(
                _job.id == job.id,
                ACTIVE,
                _job.flow_run_id == job.flow_run_id,
                _job.owner.is_(None),
                flow_run_id=None,
                recorded=False,
            )
        )

    async def forget_submitters(self) -> None:
        """Forget whose turn it was and how often they submitted of those who have no job, after a day."""
        await self.pool.fetch(_FORGET)

    async def _by(
        self, column: sa.ColumnElement[Any], keys: Collection[Any], key_of: Callable[[Job], K]
    ) -> dict[K, Job]:
        found: dict[K, Job] = {}
        for chunk in chunks(keys):
            jobs = await self._all(sa.select(job_table).where(column.in_(chunk)))
            found |= {key_of(job): job for job in jobs}
        return found


def _flow_run_of(job: Job) -> uuid.UUID | None:
    return job.flow_run_id
