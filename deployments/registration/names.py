"""What the parts of the service are called in Prefect."""

import socket

WORK_POOL = "bartender"
WORK_POOL_TYPE = "bartender"
DEPLOYMENT = "bartender"
ENTRYPOINT = "flows/run_job.py:run_job"
FORMER_ENTRYPOINTS = frozenset(
    {"flows/job.py:run_job", "flows/reconciliation.py:reconcile", "flows/cleanup.py:clean_up"}
)
"""Of versions before 1.0; servers that these registered at still have them."""
UPKEEP_DEPLOYMENT = "bartender"
RESULTS_BLOCK = "bartender-results"


def default_worker_name() -> str:
    """Return what a worker is called that nobody named."""
    return f"worker-{socket.gethostname()}"
