"""The flow of a job, one run for each. Loaded by its path too, so no type is defined here."""

from prefect import flow
from prefect.client.schemas.objects import State

from flows.lifecycle.ending import ended
from flows.lifecycle.flow_run import FLOW, describe
from flows.lifecycle.life import live
from flows.lifecycle.tasks import run_as_task


# The deployment's schema checks an operator's parameters; checking them in each run again costs 4 ms.
@flow(name=FLOW, validate_parameters=False)
async def run_job(job_id: int) -> State:
    """Run the job of this id: from the visitor's archive to the outputs in the job's directory."""
    await live(job_id, run_as_task)
    return describe(await ended(job_id))
