"""Jobs of Slurm's own, to see that a cluster works."""

from tests.services.processes import wait_until
from tests.services.slurm import SlurmCluster


def submit(cluster: SlurmCluster, script: str, *options: str) -> str:
    """As the account, in its home."""
    account = cluster.state.account
    command = ["sbatch", "--parsable", f"--chdir={account.home}", *options]
    return cluster.run(*command, user=account.name, input=script).strip()


def seen(cluster: SlurmCluster, job: str, field: str = "%T") -> str:
    return cluster.run("squeue", "-h", "-t", "all", "-j", job, "-o", field).strip()


def wait_for(cluster: SlurmCluster, job: str, state: str) -> None:
    try:
        wait_until(lambda: seen(cluster, job) == state, f"job {job} is {state}")
    except TimeoutError as error:
        error.add_note(cluster.run("scontrol", "show", "job", job))
        raise
