"""The flow that mends what contradicts itself. Loaded by its path too, so no type is defined here."""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.lifecycle.flow_run import RECONCILE
from flows.lifecycle.runtime import current
from flows.upkeep.findings import Findings
from flows.upkeep.flow_runs import mend_flow_runs
from flows.upkeep.leftover_commands import end_leftover_commands
from flows.upkeep.leftover_jobs import end_leftover_jobs

NOTHING = "Everything is as it should be."


@flow(name=RECONCILE)
async def reconcile() -> State:
    """Mend what jobs, flow runs, commands and clusters say of each other; docs/design.md has the rules."""
    runtime = current()
    findings = Findings()
    await mend_flow_runs(runtime, findings)
    for token in await end_leftover_commands(runtime):
        findings.add("command without a job under way", token, "ended and forgotten")
    await end_leftover_jobs(runtime, findings)
    if findings.summary(""):
        await findings.publish("reconciliation", NOTHING)
    return Completed(message=findings.summary(NOTHING))
