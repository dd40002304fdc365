"""What a job's flow run is in Prefect: its name, tags and last state."""

from typing import Literal
from uuid import UUID

from prefect.client.schemas.objects import State as PrefectState
from prefect.client.schemas.objects import StateType

from flows.errors import JobCancelled
from flows.jobs.job import Job, State

FLOW = "run-job"
CLEAN_UP = "clean-up"
RECONCILE = "reconcile"
"""What the flows are called in Prefect."""


def flow_run_tags(job: Job, destination: str | None) -> list[str]:
    """By these, operators filter flow runs in Prefect; ``destination`` is None until one is picked."""
    tags = [f"application:{job.application}", f"submitter:{job.submitter}"]
    return tags if destination is None else [*tags, f"destination:{destination}"]


End = Literal["COMPLETED", "CANCELLED", "FAILED"]
"""Prefect's types of states for the ends that jobs have."""


def how_it_ended(job: Job) -> tuple[End, str | None]:
    """Return the type and the message of the state of a flow run whose job has ended."""
    if job.state is State.OK:
        return "COMPLETED", "The job ended well."
    return "CANCELLED" if job.reason_kind == JobCancelled.kind else "FAILED", job.reason


def describe(job: Job) -> PrefectState:
    """Return that state for Prefect."""
    kind, message = how_it_ended(job)
    return PrefectState(type=StateType(kind), message=message)


def flow_run_id(job: Job) -> UUID:
    """Return the id of the job's flow run; ValueError where it has none yet."""
    if job.flow_run_id is None:
        raise ValueError(f"job {job.id} has no flow run")
    return job.flow_run_id


def flow_run_name(job: Job) -> str:
    """Return the name that operators find a job's flow run by."""
    return f"{job.application}-{job.id}"


def idempotency_key(job: Job) -> str:
    """Return what makes Prefect create one flow run for a job, however often it is asked."""
    return f"bartender-{job.token}"
