"""What the parts of the service are called in Prefect."""

import socket

from flows.jobs.job import Job

WORK_POOL = "bartender"
WORK_POOL_TYPE = "bartender"
FLOW = "run-job"
DEPLOYMENT = "bartender"
ENTRYPOINT = "flows/job.py:run_job"
UPKEEP_DEPLOYMENT = "bartender"
RESULTS_BLOCK = "bartender-results"


def flow_run_name(job: Job) -> str:
    """Return the name that operators find a job's flow run by."""
    return f"{job.application}-{job.id}"


def idempotency_key(job: Job) -> str:
    """Return what makes Prefect create one flow run for a job, however often it is asked."""
    return f"bartender-{job.token}"


def default_worker_name() -> str:
    """Return what a worker is called that nobody named."""
    return f"worker-{socket.gethostname()}"
