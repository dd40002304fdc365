"""What Slurm, and our scheduler, say of jobs meanwhile."""

from flows.destinations.scheduler import Scheduler
from tests.services.slurm import SlurmCluster


def state(cluster: SlurmCluster, *slurm_ids: str) -> str:
    """What the cluster itself says of jobs."""
    said = cluster.run("squeue", "-h", "-t", "all", "-j", ",".join(slurm_ids), "-o", "%T")
    return " ".join(sorted(said.split()))


async def states(scheduler: Scheduler, scheduler_id: str, seen: list[str]) -> None:
    async for status in scheduler.watch(scheduler_id):
        seen.append(status.state)
