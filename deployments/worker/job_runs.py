"""The flow runs of jobs that this process runs: started, continued, cancelled, and left when it stops."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from deployments.recording.reports import Recorder, Verdict
from deployments.worker.notes import RunNotes
from deployments.worker.results import KeptResults
from deployments.worker.step_runs import StepRuns
from deployments.worker.teller import Teller
from flows.errors import BartenderError, JobNotFound, Superseded, with_cause
from flows.jobs.deletion import purge
from flows.jobs.job import Job
from flows.jobs.told import ToldJobs
from flows.lifecycle.ending import cancel_job, ended, tidy_up
from flows.lifecycle.flow_run import flow_run_id
from flows.lifecycle.life import live
from flows.lifecycle.runtime import Runtime
from flows.waiting.cancelling import cancel, cancel_soon, ended_on_purpose
from flows.waiting.patience import Delays, patiently

logger = logging.getLogger(__name__)

RERUN_DELAYS = Delays(2.0, longest=30.0)
"""Before a flow run that broke off, or whose job has not ended with it, is run again."""

LAST_WORDS = 2.0
"""Seconds that a worker which stops takes to tell Prefect what it has not heard yet."""


@dataclass(frozen=True, slots=True)
class _Run:
    job_id: int
    task: asyncio.Task[None]


class JobRuns:
    """One asyncio task for each flow run, and one that tells Prefect of them all."""

    def __init__(self, runtime: Runtime, recorder: Recorder) -> None:
        self._runtime = runtime
        self._jobs = ToldJobs(runtime.jobs.pool, runtime.jobs.owner)
        self._teller = Teller(recorder, self._jobs, heed=self._end_for_operator, settle=self._settle)
        self._telling = asyncio.create_task(self._teller.run(), name="reports of flow runs")
        self._runs: dict[UUID, _Run] = {}
        self._removals: set[asyncio.Task[bool]] = set()
        self._stopped = False
        self._missing: set[UUID] = set()

    def __len__(self) -> int:
        return len(self._runs)

    def __contains__(self, flow_run_id: object) -> bool:
        return flow_run_id in self._runs or flow_run_id in self._teller

    def start(self, job: Job) -> None:
        """Run the job's flow run for the first time, or once more from the beginning."""
        self._begin(job, is_new=True)

    def resume(self, job: Job) -> None:
        """Continue the job's flow run, which another process or an earlier one of this name began."""
        self._begin(job, is_new=False)

    def tell(self, job: Job) -> None:
        """Say in Prefect how a job ended that nobody runs any more; a deleted one is removed then."""
        notes = RunNotes(job, self._teller.changed)
        notes.is_settled = True
        notes.ended(job)

    async def resume_forgotten(self) -> None:
        """Continue jobs that are this process's but not run: the answer that it got them was lost.

        Only those that were missing at the look before, too: an answer may just be arriving.
        """
        missing = {number for number in await self._jobs.flow_runs() if number not in self}
        for number in missing & self._missing:
            job = await self._jobs.by_flow_run(number)
            if job is None or job.owner != self._jobs.owner:
                continue
            if job.id not in self._runtime.beginning:
                logger.warning("Job %s is this worker's, but was not run; continuing it", job.id)
                self.resume(job)
        self._missing = missing

    def cancel(self, flow_run_id: UUID) -> None:
        """End the job of a flow run; harmless when it is not run here, or is being ended."""
        run = self._runs.get(flow_run_id)
        if run is not None and run.job_id not in self._runtime.cancelled:
            self._runtime.cancelled.add(run.job_id)
            cancel_soon(run.task)

    async def stop(self, *, prefect_answers: bool = True) -> None:
        """Leave all flow runs as they are, and begin no other; another process continues them.

        What Prefect was not told yet is told now where ``prefect_answers``, else by that one.
        """
        self._stopped = True
        await cancel([*(run.task for run in self._runs.values()), self._telling])
        if prefect_answers and not self._runtime.superseded.is_set():
            await self._teller.last_words(LAST_WORDS)
        await cancel(self._removals)

    def _begin(self, job: Job, *, is_new: bool) -> None:
        number = flow_run_id(job)
        if self._stopped or number in self:
            return
        if job.cancel_requested:
            self._runtime.cancelled.add(job.id)
        notes = RunNotes(job, self._teller.changed)
        task = asyncio.create_task(self._run(notes, is_new=is_new), name=f"flow run of job {job.id}")
        self._runs[number] = _Run(job.id, task)
        task.add_done_callback(lambda _: self._forget(job.id, number))

    def _forget(self, job_id: int, flow_run_id: UUID) -> None:
        self._runs.pop(flow_run_id, None)
        self._runtime.jobs.forget(job_id)
        self._runtime.cancelled.discard(job_id)

    def _end_for_operator(self, notes: RunNotes) -> None:
        logger.info("Job %s is ended: an operator cancelled its flow run", notes.job.id)
        self.cancel(notes.flow_run_id)

    async def _run(self, notes: RunNotes, *, is_new: bool) -> None:
        delays = iter(RERUN_DELAYS)
        while True:
            # If so, the next attempt ends the job.
            with ended_on_purpose(lambda: self._is_ending(notes.job.id)):
                if await self._is_over(notes, is_new=is_new):
                    return
                await asyncio.sleep(next(delays))
            is_new = False

    def _is_ending(self, job_id: int) -> bool:
        return job_id in self._runtime.cancelled and not self._stopped

    async def _is_over(self, notes: RunNotes, *, is_new: bool) -> bool:
        """Attempt it; return whether it is not to be run again by us."""
        job_id = notes.job.id
        try:
            return await self._attempt(notes, is_new=is_new)
        except Superseded:
            self._runtime.superseded.set()
            return True
        except JobNotFound:
            logger.warning("Job %s is not there any more; nothing is run for it", job_id)
            return True
        except Exception as error:
            trace = None if isinstance(error, BartenderError) else error
            text = "The flow run of job %s broke off; it is run again: %s"
            logger.error(text, job_id, with_cause(error), exc_info=trace)  # noqa: TRY400 - not always
            return False

    async def _attempt(self, notes: RunNotes, *, is_new: bool) -> bool:
        """Return whether all is done but to tell Prefect: the job has ended, or is not ours to run."""
        job = notes.job
        if not is_new or job.id in self._runtime.cancelled:
            job = await patiently(lambda: self._runtime.jobs.get(job.id))
            if job.state.is_final:
                await tidy_up(job, self._runtime)
            elif job.id in self._runtime.cancelled:
                job = await cancel_job(job, self._runtime)
            if job.state.is_final:
                notes.ended(job)
                return True
        return await self._run_steps(notes, is_new=is_new)

    async def _run_steps(self, notes: RunNotes, *, is_new: bool) -> bool:
        results = self._results(notes)
        has_begun = not is_new or notes.job.destination is not None
        found = await asyncio.to_thread(results.read) if has_begun else {}
        if is_new:
            notes.running()
        else:
            notes.running_again()
        # Else nobody can have cancelled or deleted it there.
        if notes.known and await self._teller.answer(notes) is Verdict.DELETED:
            if await patiently(lambda: self._jobs.release_flow_run(notes.job)):
                logger.warning("The flow run of job %s was deleted; it gets a new one", notes.job.id)
                return True
            logger.warning("The flow run of job %s was deleted; the job goes on without", notes.job.id)
        job_id, failure = notes.job.id, None
        steps = StepRuns(notes, results, found, lambda: self._is_ending(job_id))
        try:
            await live(job_id, steps)
        except Exception as error:  # the job's row and the log have it already
            failure = error
        job = await ended(job_id)
        if not job.state.is_final:
            if failure is not None:
                raise failure
            return False
        notes.ended(job, failure)
        return True

    def _results(self, notes: RunNotes) -> KeptResults:
        return KeptResults(self._runtime.place.results, notes.flow_run_id)

    async def _settle(self, over: Sequence[RunNotes]) -> None:
        """Let go of jobs whose end Prefect knows; what is left of deleted ones is removed."""
        await asyncio.to_thread(_remove_results, [self._results(notes) for notes in over])
        ours = [notes for notes in over if not notes.is_settled]
        released = await self._jobs.release(
            [notes.job.id for notes in ours], recorded=[notes.job.id for notes in ours if notes.known]
        )
        for job in [*released, *(notes.job for notes in over if notes.is_settled)]:
            if job.deleted_on is not None:
                task = asyncio.create_task(self._purge(job), name=f"removal of job {job.id}")
                self._removals.add(task)
                task.add_done_callback(self._removals.discard)

    async def _purge(self, job: Job) -> bool:
        return await patiently(lambda: purge(job, self._runtime.place, self._runtime.end_requests))


def _remove_results(results: Sequence[KeptResults]) -> None:
    for of_run in results:
        of_run.remove()
