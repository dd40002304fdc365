"""The flow that removes what nobody needs any more. Loaded by its path too, so no type is defined here."""

from datetime import timedelta

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.jobs.deletion import purge
from flows.jobs.kept import KeptJobs
from flows.lifecycle.flow_run import CLEAN_UP
from flows.lifecycle.runtime import Runtime, current
from flows.upkeep.findings import Findings
from flows.upkeep.leftover_directories import remove_leftover_directories
from flows.upkeep.leftover_files import remove_leftovers
from flows.upkeep.leftover_jobs import end_leftover_jobs
from flows.upkeep.old_runs import remove_old_runs
from flows.upkeep.store import UpkeepStore

NOTHING = "There was nothing to remove."


@flow(name=CLEAN_UP)
async def clean_up(
    dry_run: bool = False,
    notice_days: float = 1.0,
    leftovers_after_days: float = 1.0,
    uploads_after_days: float = 7.0,
    flow_runs_after_days: float = 30.0,
    upkeep_runs_after_days: float = 2.0,
    directories_without_job: bool = False,
    at_most: int = 5000,
) -> State:
    """Remove expired jobs, what was left of jobs here and at clusters, and old flow runs with their logs.

    Args:
        dry_run: only say what would be removed
        notice_days: jobs expire only after their submitters could see for so long when they do
        leftovers_after_days: files of no use are left alone for so long, whoever may be making them
        uploads_after_days: how long archives of jobs that an operator can still retry are kept
        flow_runs_after_days: how long Prefect keeps the runs of jobs after their end
        upkeep_runs_after_days: how long Prefect keeps the runs of this flow and of `reconcile`
        directories_without_job: also remove old directories of jobs that are not in the database, here and at
            destinations; do not where several databases have one directory of jobs
        at_most: so many jobs, and so many flow runs, are removed by one run; the next one goes on
    """
    runtime = current()
    findings = Findings()
    await _expired_jobs(runtime, findings, dry_run, timedelta(days=notice_days), at_most)
    await end_leftover_jobs(runtime, findings, dry_run=dry_run)
    await remove_leftovers(
        runtime,
        findings,
        dry_run=dry_run,
        age=timedelta(days=leftovers_after_days),
        age_of_uploads=timedelta(days=uploads_after_days),
        directories_without_job=directories_without_job,
    )
    await remove_leftover_directories(
        runtime,
        findings,
        dry_run=dry_run,
        age=timedelta(days=leftovers_after_days),
        directories_without_job=directories_without_job,
    )
    await remove_old_runs(
        findings,
        dry_run=dry_run,
        age_of_jobs=timedelta(days=flow_runs_after_days),
        age_of_upkeep=timedelta(days=upkeep_runs_after_days),
        at_most=at_most,
    )
    await findings.publish("clean-up", NOTHING)
    return Completed(message=findings.summary(NOTHING))


async def _expired_jobs(
    runtime: Runtime, findings: Findings, dry_run: bool, notice: timedelta, at_most: int
) -> None:
    jobs = KeptJobs(runtime.jobs.pool)
    if dry_run:
        for job in await jobs.expired(runtime.config.retention, notice, limit=at_most):
            findings.add("expired job", job.id, "would be removed")
        return
    await jobs.announce(runtime.config.retention, notice)
    for job in await jobs.delete_expired(limit=at_most):
        findings.add("expired job", job.id, "removed")
    # Those, and where whoever should have done it was interrupted.
    for job in await runtime.end_requests.to_purge():
        if not await purge(job, runtime.place, runtime.end_requests):
            findings.add("deleted job", job.id, "kept: its files cannot be removed, see the worker's log")
    await UpkeepStore(runtime.jobs.pool).forget_submitters()
