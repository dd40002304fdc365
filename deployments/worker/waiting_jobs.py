"""Jobs that nobody begins for a while: Prefect is told of them too, as Scheduled."""

from dataclasses import replace

from deployments.recording.reports import MOST_RUNS, Recorder, Verdict
from deployments.worker.notes import RunNotes
from flows.jobs.told import ToldJobs

INTERVAL = 1.0
"""Seconds between looks, while this worker may begin no more."""

_REFUSED = Verdict.REFUSED


async def tell_of_waiting_jobs(jobs: ToldJobs, recorder: Recorder) -> None:
    """Tell of those that wait for a second, whoever begins them.

    Several workers may tell of the same: all say the same of it. Raises Unavailable while a part is away.
    """
    newest = 0
    while waiting := await jobs.waiting(limit=MOST_RUNS, after=newest):
        newest = waiting[-1].id
        waiting.sort(key=lambda job: job.token)
        told = [replace(job, flow_run_id=job.token) for job in waiting]
        answers = await recorder.record([RunNotes(job, _ignore).report(job) for job in told])
        heard = zip(told, answers, strict=True)
        await jobs.set_waiting_recorded([job.id for job, answer in heard if answer.verdict is not _REFUSED])


def _ignore(notes: RunNotes) -> None:
    """Nothing comes after the first state of a job that nobody has begun."""
