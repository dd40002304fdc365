"""What all schedulers of Slurm have in common, however they reach the cluster."""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import BaseModel, Field

from flows.destinations.polling import Batcher, Pace
from flows.destinations.scheduler import Listed, Status, Submission
from flows.destinations.variables import BlockVariables
from flows.errors import JobCancelled, Unavailable
from flows.slurm import states
from flows.slurm.cluster import Cluster
from flows.slurm.doubts import Doubts
from flows.slurm.queries import Row
from flows.slurm.references import Reference
from flows.slurm.states import Notes
from flows.waiting.patience import Delays

VISIBLE_AFTER = 30.0
"""Seconds in which what was written on a node becomes visible elsewhere on a network filesystem."""

LOOK_FOR_NOTES = 60.0
"""Seconds for which Slurm is believed that a job runs: it may have forgotten the end when it was killed."""

LATE_SUBMISSION = 2.0
"""Seconds in which the controller works off a submission whose sender was just interrupted."""

_WHILE_IT_ENDS = Delays(0.25, longest=2.0, factor=1.5)
_SUBMISSIONS_AT_ONCE = 8
_JOBS_IN_A_QUESTION = 10_000
"""Their ids are in one word of a command line, which has 128 KiB at most."""


_UNSURE = "Slurm says nothing certain of the job at the moment; it is asked again."


class SchedulingKeys(BaseModel):
    """Intervals and ``lost_after`` in seconds. ``max_poll_interval`` is for jobs that are not new."""

    environment: str | None = Field(default=None, description="name of a command-environment block")
    poll_interval: float = Field(default=1.0, gt=0)
    max_poll_interval: float = Field(default=4.0, gt=0)
    lost_after: float = Field(default=600.0, gt=0)


@dataclass(frozen=True, slots=True)
class Found:
    """What one question told of a job: the rows the controller has, and what follows, if that is certain."""

    rows: Sequence[Row]
    status: Status | None


class SlurmScheduler:
    """Jobs are known by the token in their name. Ends are Slurm's word and the script's note together."""

    def __init__(self, keys: SchedulingKeys, cluster: Cluster) -> None:
        self._cluster = cluster
        self._environment = keys.environment
        self._lost_after = keys.lost_after
        self._variables = BlockVariables(keys.environment)
        self._pace = Pace(keys.poll_interval, keys.max_poll_interval)
        self._batcher: Batcher[Reference | None, Found] = Batcher(self._ask, keys.poll_interval)
        self._doubts = Doubts()
        self._said_to_run = Doubts()
        self._forgotten = Doubts()
        self._said_to_run_on: set[str] = set()
        self._directories: dict[str, str] = {}
        self._submissions = asyncio.Semaphore(_SUBMISSIONS_AT_ONCE)

    async def submit(self, submission: Submission) -> str:
        reference = Reference(submission.token, "", str(submission.directory))
        variables = await self._block()
        self._directories[submission.token] = str(submission.directory)
        async with self._submissions:
            slurm_id = await self._cluster.submit(submission, reference, variables)
        if slurm_id is None:
            raise JobCancelled("The job was cancelled.")
        return str(replace(reference, slurm_id=slurm_id))

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
            if status is None and age > VISIBLE_AFTER:
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
            reference = replace(reference, directory=self._directories.get(reference.token))
        if reference.guard is not None:
            await self._cluster.mark_cancelled(reference)
        await self._end(reference)

    async def _end(self, reference: Reference) -> None:
        """Cancel until Slurm says that the job is gone."""
        may_come = reference.slurm_id is None
        soon, delays = 0.0, iter(_WHILE_IT_ENDS)
        for round_ in itertools.count():
            rows = (await self._batcher.answer(reference, within=soon)).rows
            ids = [row.slurm_id for row in rows if row.state not in states.ENDED]
            if not ids and not (may_come and not rows):
                return
            may_come = False
            if not ids:
                await asyncio.sleep(LATE_SUBMISSION)  # at least: others' questions come earlier
                continue
            if round_ % 8 == 0 or any(row.state != "COMPLETING" for row in rows):
                await self._cluster.cancel(ids)
            soon = next(delays)

    async def forget(self, scheduler_id: str) -> None:
        """The notes of the job's script go with its files: the filesystem removes them."""
        reference = Reference.parse(scheduler_id)
        token = reference.token
        if token in self._said_to_run_on and reference.slurm_id is not None:
            await self._cluster.cancel([reference.slurm_id])  # it keeps a place of the cluster
        self._said_to_run_on.discard(token)
        self._directories.pop(token, None)
        for doubts in (self._doubts, self._said_to_run, self._forgotten):
            doubts.settle(token)

    async def check(self) -> None:
        await self._cluster.check()

    async def under_way(self) -> list[Listed]:
        return [
            Listed(scheduler_id=row.slurm_id, token=row.token, installation=row.installation)
            for row in (await self._batcher.answer(None, within=0)).rows
            if row.state in states.ACTIVE and row.state != "COMPLETING"
        ]

    async def end(self, scheduler_ids: Collection[str]) -> None:
        await self._cluster.cancel(scheduler_ids)

    async def close(self) -> None:
        await self._batcher.close()
        await self._cluster.close()

    # One question for all jobs

    async def _ask(self, questions: Collection[Reference | None]) -> Mapping[Reference | None, Found]:
        """Answer for each job, and for None with all that the controller has."""
        queue = await self._cluster.queue()
        rows = defaultdict(list)
        for row in queue:
            rows[row.token].append(row)
        references = [reference for reference in questions if reference is not None]
        found: dict[Reference | None, Found] = {None: Found(queue, None)}
        for reference, status in (await self._statuses(references, rows)).items():
            found[reference] = Found(rows[reference.token], status)
        return found

    async def _statuses(
        self, references: Sequence[Reference], rows: defaultdict[str, list[Row]]
    ) -> Mapping[Reference, Status | None]:
        answers: dict[Reference, Status | None] = {}
        for reference in references:
            active = [row for row in rows[reference.token] if row.state in states.ACTIVE]
            if active:
                self._doubts.settle(reference.token)
                # The one that runs, if there are two.
                answers[reference] = max(
                    (states.waiting(row.state, row.reason) for row in active), key=lambda s: s.state
                )
        rest = [r for r in references if r not in answers or self._is_to_be_looked_after(r, answers[r])]
        for start in range(0, len(rest), _JOBS_IN_A_QUESTION):
            found = await self._ended(rest[start : start + _JOBS_IN_A_QUESTION], rows)
            answers |= {r: status for r, status in found.items() if status is not None or r not in answers}
        return answers

    def _is_to_be_looked_after(self, reference: Reference, status: Status | None) -> bool:
        if status is None or status.state != "running":
            self._said_to_run.settle(reference.token)
            self._forgotten.settle(reference.token)
        elif self._said_to_run.age(reference.token) > LOOK_FOR_NOTES:
            self._said_to_run.settle(reference.token)
            return True
        return False

    async def _ended(
        self, references: Sequence[Reference], queued: Mapping[str, list[Row]]
    ) -> dict[Reference, Status | None]:
        unknown = [reference for reference in references if not queued[reference.token]]
        evidence = await self._cluster.evidence(references, unknown)
        accounted = defaultdict(list)
        for row in evidence.rows or []:
            accounted[row.token].append(row)
        return {
            reference: self._conclude(
                reference.token,
                queued[reference.token]
                or [row for row in accounted[reference.token] if row.state not in states.ACTIVE],
                evidence.notes[reference],
                certain=evidence.rows is not None,
            )
            for reference in references
        }

    def _conclude(self, token: str, rows: Sequence[Row], notes: Notes, *, certain: bool) -> Status | None:
        """Return the end that is proved, or None. ``certain``: accounting was asked, or there is none."""
        if any(row.state in states.ACTIVE for row in rows):
            return self._conclude_running(token, notes)
        for row in rows:
            if (status := states.end(row.state, row.reason, notes)) is not None:
                self._doubts.settle(token)
                return status
        if not rows and notes.returncode is not None:
            # The controller, which answered, does not run it, and the script came to its end.
            return Status(state="ended", returncode=notes.returncode)
        if rows and all(row.state in states.BY_ITSELF for row in rows):
            return states.NO_RETURN_CODE if self._doubts.age(token) > VISIBLE_AFTER else None
        if not rows and certain:
            age = self._doubts.age(token)
            if not notes.begun and age > min(VISIBLE_AFTER, self._lost_after):
                self._doubts.settle(token)
                return Status(state="lost")
            return states.LOST if age > self._lost_after else None
        self._doubts.settle(token)
        return None

    def _conclude_running(self, token: str, notes: Notes) -> Status | None:
        if notes.returncode is None:
            self._forgotten.settle(token)
        elif self._forgotten.age(token) > 0:  # a job that was preempted, or ends now, runs no more by then
            self._said_to_run_on.add(token)
            return Status(state="ended", returncode=notes.returncode)
        return None
