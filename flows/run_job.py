"""The flow of a job, one run for each. Loaded by its path too, so no type is defined here."""

from prefect import flow
from prefect.client.schemas.objects import State

from flows.lifecycle.ending import end_of_job, final_state
from flows.lifecycle.flow_run import FLOW
from flows.lifecycle.steps import collect, pick_destination, poll, submit, upload


# The deployment's schema checks an operator's parameters; checking them in each run again costs 4 ms.
@flow(name=FLOW, validate_parameters=False)
async def run_job(job_id: int) -> State:
    """Run the job of this id: from the visitor's archive to the outputs in the job's directory."""
    async with end_of_job(job_id):
        await upload(job_id)
        destination = await pick_destination(job_id)
        scheduler_id = await submit(job_id, destination)
        outcome = await poll(job_id, destination, scheduler_id)
        await collect(job_id, destination, scheduler_id, outcome)
    return await final_state(job_id)
