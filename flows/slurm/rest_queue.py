"""What slurmrestd's controller has of jobs, by questions that are as small as its version allows.

A small question tells the states of some jobs, not their names, though Slurm gives the ids of jobs that it
lost to others. So a job is asked for by itself when its state has changed, and from time to time.
"""

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from flows.batch.references import Reference
from flows.errors import Unavailable
from flows.slurm import complaints, rest_messages
from flows.slurm.queries import Row
from flows.slurm.rest_connection import RestConnection
from flows.slurm.rest_dialects import Api
from flows.slurm.rest_messages import Answer

READ_AGAIN = 60.0
"""Seconds after which a job whose state is the same is asked for by itself: why it waits may have changed."""

_JOBS_IN_A_QUESTION = 300
"""They are in the address of a request."""

_BY_THEMSELVES = 16
"""With more jobs to read than that, one question for all of the cluster is less work for everybody."""


@dataclass(frozen=True, slots=True)
class _Read:
    states: Any
    row: Row | None  # None: not a job of the user's
    at: float


class RestQueue:
    """Remembers what it read of the jobs that it was asked for last."""

    def __init__(self, connection: RestConnection) -> None:
        self._connection = connection
        self._read: dict[str, _Read] = {}

    async def rows(self, of: Collection[Reference] | None) -> list[Row]:
        """Return the user's jobs among these, and perhaps others; all of the user's when None."""
        api = await self._connection.api()
        if of is None or not api.dialect.knows_states or any(reference.batch_id is None for reference in of):
            return await self._all(api)
        states = await self._states(api, sorted({reference.batch_id or "" for reference in of}))
        now = time.monotonic()
        self._read = {
            slurm_id: read
            for slurm_id, read in self._read.items()
            if states.get(slurm_id) == read.states and now - read.at < READ_AGAIN
        }
        new = [slurm_id for slurm_id in states if slurm_id not in self._read]
        if len(new) > _BY_THEMSELVES:
            rows = {row.batch_id: row for row in await self._all(api)}
            found = [rows.get(slurm_id) for slurm_id in new]
        else:
            found = await asyncio.gather(*(self._one(api, slurm_id) for slurm_id in new))
        for slurm_id, row in zip(new, found, strict=True):
            self._read[slurm_id] = _Read(states[slurm_id], row, now)
        return [read.row for read in self._read.values() if read.row is not None]

    async def _states(self, api: Api, slurm_ids: list[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for start in range(0, len(slurm_ids), _JOBS_IN_A_QUESTION):
            some = slurm_ids[start : start + _JOBS_IN_A_QUESTION]
            params = [("job_id", slurm_id) for slurm_id in some]
            answer = await self._connection.request(api, "GET", "slurm/jobs/state/", params=params)
            found |= _states(answer)
        return found

    async def _one(self, api: Api, slurm_id: str) -> Row | None:
        answer = await self._connection.request(api, "GET", f"slurm/job/{slurm_id}")
        if answer.complaints and all(map(rest_messages.of_ended, answer.complaints)):
            return None
        rows = answer.rows(api.dialect.queued, self._connection.user)
        return rows[0] if rows else None

    async def _all(self, api: Api) -> list[Row]:
        answer = await self._connection.request(api, "GET", "slurm/jobs")
        return answer.rows(api.dialect.queued, self._connection.user)


def _states(answer: Answer) -> dict[str, Any]:
    jobs = answer.body.get("jobs")
    if not answer.is_good or not isinstance(jobs, list):
        raise complaints.no_answer(answer.sentence)
    try:
        return {job["job_id"]: job["state"] for job in jobs}
    except (KeyError, TypeError) as error:
        raise Unavailable("What slurmrestd says of jobs is not understood.") from error
