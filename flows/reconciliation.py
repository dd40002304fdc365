"""The flow that mends what contradicts itself. Loaded by its path too, so no type is defined here."""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.flow_runs import mend_flow_runs
from flows.leftover_commands import end_leftover_commands
from flows.leftover_jobs import end_leftover_jobs
from flows.runtime import current
from flows.upkeep_report import Report

NOTHING = "Everything is as it should be."


@flow(name="reconcile")
async def reconcile() -> State:
    """Mend what jobs, flow runs, commands and clusters say of each other; docs/design.md has the rules."""
    runtime = current()
    report = Report()
    await mend_flow_runs(runtime, report)
    for token in await end_leftover_commands(runtime):
        report.add("command without a job under way", token, "ended and forgotten")
    await end_leftover_jobs(runtime, report)
    if report.summary(""):
        await report.publish("reconciliation", NOTHING)
    return Completed(message=report.summary(NOTHING))
