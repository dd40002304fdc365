"""What the schedulers of all batch systems have in common, however they reach them."""

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from pydantic import BaseModel, Field

from flows.batch import conclusions
from flows.batch.cluster import Cluster
from flows.batch.conclusions import Conclusion, Doubt
from flows.batch.notes import Notes
from flows.batch.references import Reference
from flows.batch.rows import ACTIVE, Row
from flows.destinations.polling import Batcher, Pace, Turns
from flows.destinations.scheduler import Listed, Status, Submission
from flows.destinations.variables import BlockVariables
from flows.errors import JobCancelled, Unavailable
from flows.waiting.patience import Delays

LOOK_FOR_NOTES = 60.0
"""Seconds for which it is believed that a job runs: a batch system that was killed may forget the end."""

LATE_SUBMISSION = 2.0
"""Seconds in which a batch system works off a submission whose sender was just interrupted."""

_WHILE_IT_ENDS = Delays(0.25, longest=2.0, factor=1.5)
_SUBMISSIONS_AT_ONCE = 8
_JOBS_IN_A_QUESTION = 10_000
"""Their ids are in one word of a command line, which has 128 KiB at most."""

_UNSURE = "The cluster says nothing certain of the job at the moment; it is asked again."


class SchedulingKeys(BaseModel):
    """Intervals and ``lost_after`` in seconds. ``max_poll_interval`` is for jobs that are not new."""

    environment: str | None = Field(default=None, description="name of a command-environment block")
    poll_interval: float = Field(default=1.0, gt=0)
    max_poll_interval: float = Field(default=4.0, gt=0)
    lost_after: float = Field(default=600.0, gt=0)


class _All(Enum):
    """What else than one job can be asked for."""

    JOBS = "all that the controller has"


@dataclass(frozen=True, slots=True)
class Found:
    """What one question told: the controller's rows, and of one job what follows, if that is certain."""

    rows: Sequence[Row]
    status: Status | None


@dataclass(slots=True)
class _Known:
    """What this process has seen of a job; after a restart, everybody gets the benefit of the doubt again.

    Times are those of a monotonic clock, in seconds.
    """

    directory: str | None = None
    doubt: Doubt | None = None
    doubted_since: float = 0.0
    said_to_run_since: float | None = None
    runs_on: bool = False

    def is_to_be_looked_after(self, rows: Sequence[Row], now: float) -> bool:
        """Whether its notes are wanted: it is not active, or has been said to run for long."""
        active = {row.phase for row in rows if row.phase in ACTIVE}
        if active <= {"queued"}:
            self.said_to_run_since = None
            return not active
        if self.said_to_run_since is None:
            self.said_to_run_since = now
        if now - self.said_to_run_since <= LOOK_FOR_NOTES:
            return False
        self.said_to_run_since = None
        return True

    def doubted(self, now: float) -> tuple[Doubt, float] | None:
        return None if self.doubt is None else (self.doubt, now - self.doubted_since)

    def learn(self, conclusion: Conclusion, now: float) -> None:
        if conclusion.doubt != self.doubt:
            self.doubt, self.doubted_since = conclusion.doubt, now
        self.runs_on = self.runs_on or conclusion.runs_on


class BatchScheduler:
    """Jobs are known by the token in their name. Ends are its word and the script's note together."""

    def __init__(self, keys: SchedulingKeys, cluster: Cluster, turns: Turns | None = None) -> None:
        self._cluster = cluster
        self._environment = keys.environment
        self._lost_after = keys.lost_after
        self._variables = BlockVariables(keys.environment)
        self._pace = Pace(keys.poll_interval, keys.max_poll_interval)
        self._batcher: Batcher[Reference | _All, Found] = Batcher(self._ask, keys.poll_interval, turns)
        self._known: defaultdict[str, _Known] = defaultdict(_Known)
        self._submissions = asyncio.Semaphore(_SUBMISSIONS_AT_ONCE)

    async def submit(self, submission: Submission) -> str:
        reference = Reference(submission.token, directory=str(submission.directory))
        variables = await self._block()
        self._known[submission.token].directory = reference.directory
        async with self._submissions:
            batch_id = await self._cluster.submit(submission, reference, variables)
        if batch_id is None:
            raise JobCancelled("The job was cancelled.")
        return str(replace(reference, batch_id=batch_id))

    async def _block(self) -> Mapping[str, str]:
        try:
            return await self._variables.variables()
        except Exception as error:  # whatever Prefect's client raises: of a block that may be there later
            raise Unavailable(
                f"The block {self._environment} with the commands' variables cannot be read now."
            ) from error

    async def watch(self, scheduler_id: str) -> AsyncIterator[Status]:
        reference = Reference.parse(scheduler_id)
        loop = asyncio.get_running_loop()
        changed = loop.time()
        last: Status | None = None
        while last is None or last.state not in {"ended", "lost"}:
            age = loop.time() - changed
            status = (await self._batcher.answer(reference, within=self._pace.interval(age))).status
            if status is None and last is not None:
                status = replace(last, reason=_UNSURE)
            if status is None and age > conclusions.VISIBLE_AFTER:
                raise Unavailable(_UNSURE)
            if status is None or status == last:
                continue
            if status.returncode is not None and (last is None or last.state == "queued"):
                yield Status(state="running")  # between two questions
            if last is None or status.state != last.state:
                changed = loop.time()
            last = status
            yield status

    async def cancel(self, scheduler_id: str) -> None:
        reference = Reference.parse(scheduler_id)
        if reference.directory is None:
            reference = replace(reference, directory=self._known[reference.token].directory)
        if reference.directory is not None:
            await self._cluster.mark_cancelled(reference)
        await self._end(reference)

    async def _end(self, reference: Reference) -> None:
        """Cancel until the batch system says that the job is gone."""
        may_come = reference.batch_id is None
        soon, delays = 0.0, iter(_WHILE_IT_ENDS)
        for round_ in itertools.count():
            rows = (await self._batcher.answer(reference, within=soon)).rows
            ids = [row.batch_id for row in rows if row.phase != "ended"]
            if not ids and not (may_come and not rows):
                return
            may_come = False
            if not ids:
                await asyncio.sleep(LATE_SUBMISSION)  # at least: others' questions come earlier
                continue
            if round_ % 8 == 0 or any(row.phase != "ending" for row in rows):
                await self._cluster.cancel(ids)
            soon = next(delays)

    async def forget(self, scheduler_id: str) -> None:
        """The notes of the job's script go with its files: the filesystem removes them."""
        reference = Reference.parse(scheduler_id)
        if reference.batch_id is not None and self._known[reference.token].runs_on:
            await self._cluster.cancel([reference.batch_id])  # it keeps a place of the cluster
        self._known.pop(reference.token, None)

    async def check(self) -> None:
        await self._cluster.check()

    async def under_way(self) -> list[Listed]:
        return [
            Listed(scheduler_id=row.batch_id, token=row.token, installation=row.installation)
            for row in (await self._batcher.answer(_All.JOBS, within=0)).rows
            if row.phase in ACTIVE and row.phase != "ending"
        ]

    async def end(self, scheduler_ids: Collection[str]) -> None:
        await self._cluster.cancel(scheduler_ids)

    async def close(self) -> None:
        await self._batcher.close()
        await self._cluster.close()

    # One question for all jobs

    async def _ask(self, questions: Collection[Reference | _All]) -> Mapping[Reference | _All, Found]:
        references = [question for question in questions if isinstance(question, Reference)]
        queue = await self._cluster.queue(None if _All.JOBS in questions else references)
        rows: defaultdict[str, list[Row]] = defaultdict(list)
        for row in queue:
            rows[row.token].append(row)
        found: dict[Reference | _All, Found] = {_All.JOBS: Found(queue, None)}
        for reference, status in (await self._statuses(references, rows)).items():
            found[reference] = Found(rows[reference.token], status)
        return found

    async def _statuses(
        self, references: Sequence[Reference], rows: Mapping[str, Sequence[Row]]
    ) -> Mapping[Reference, Status | None]:
        now = time.monotonic()
        wanted = [r for r in references if self._known[r.token].is_to_be_looked_after(rows[r.token], now)]
        notes: dict[Reference, Notes] = {}
        accounted: dict[Reference, list[Row] | None] = {}
        for start in range(0, len(wanted), _JOBS_IN_A_QUESTION):
            batch = wanted[start : start + _JOBS_IN_A_QUESTION]
            evidence = await self._cluster.evidence(batch, [r for r in batch if not rows[r.token]])
            notes |= evidence.notes
            accounted |= _of_each(batch, evidence.rows)
        answers = {}
        for reference in references:
            known, now = self._known[reference.token], time.monotonic()
            conclusion = conclusions.conclude(
                rows[reference.token],
                accounted.get(reference),
                notes.get(reference),
                known.doubted(now),
                lost_after=self._lost_after,
                vanished=self._cluster.vanished,
            )
            known.learn(conclusion, now)
            answers[reference] = conclusion.status
        return answers


def _of_each(
    references: Collection[Reference], rows: Sequence[Row] | None
) -> dict[Reference, list[Row] | None]:
    if rows is None:
        return dict.fromkeys(references)
    of_token: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        of_token[row.token].append(row)
    return {reference: of_token[reference.token] for reference in references}
