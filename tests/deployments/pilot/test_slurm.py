"""Pilots as jobs of a real cluster."""

import asyncio
import shlex
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

from api.commands.perform import slurm_script
from deployments.serving.prefect_server import EmbeddedPrefect
from flows.destinations.surroundings import Surroundings
from flows.disk.places import Place
from flows.schedulers.pilot import Scheduler
from flows.ssh.connections import Connections
from tests.flows.submitting import statuses, submission
from tests.pilots import make_pool, new_pool
from tests.services.slurm import SlurmCluster
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.mark.parametrize(
    ("pilots", "jobs"), [(2, 20), pytest.param(10, 200, marks=pytest.mark.long)], ids=["few", "many"]
)
async def test_jobs_run_in_pilots_that_are_jobs_of_slurm(
    slurm_cluster: SlurmCluster, shared_prefect: EmbeddedPrefect, tmp_path: Path, pilots: int, jobs: int
) -> None:
    pool = new_pool()
    await make_pool(pool)
    ids = await asyncio.to_thread(_start, slurm_cluster, shared_prefect, tmp_path, pool, pilots)
    place, connections = Place(tmp_path / "data", tmp_path / "jobs"), Connections()
    config = Scheduler.Config(work_pool=pool, job_timeout=600)
    scheduler = Scheduler(config, Surroundings(place, "there", connections))
    command = "echo $SLURM_JOB_ID >>ledger; env >environment; sleep 0.1; exit 5"
    submitted = [submission(place, command) for _ in range(jobs)]
    try:
        runs = await asyncio.gather(*map(scheduler.submit, submitted))
        ends = await asyncio.gather(*(statuses(scheduler, run) for run in runs))
        assert {end[-1].returncode for end in ends} == {5}
        assert {(job.directory / "ledger").read_text() for job in submitted} == {"\n"}  # once, and clean
        await until(lambda: not _active(slurm_cluster, ids))  # idle pilots end
    finally:
        await scheduler.close()
        await connections.close()
        slurm_cluster.run("scancel", *ids)


def _start(
    cluster: SlurmCluster, prefect: EmbeddedPrefect, directory: Path, pool: str, pilots: int
) -> list[str]:
    """Submit the script as `bartender pilot-script slurm` prints it; return the ids of Slurm."""
    login = directory / "pilot.env"
    variables = {**prefect.client_environment(), "PYTHONPATH": str(Path.cwd())}
    login.write_text(
        "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
        + f"export TMPDIR={directory}\n"
    )
    script = slurm_script(
        pool=pool, max_jobs=2, idle_timeout=5, bartender=f"{shlex.quote(sys.executable)} -m api"
    )
    options = [f"--export=ALL,BARTENDER_PILOT_ENV={login}", f"--output={directory}/%j-%A_%a.log"]
    command = ["sbatch", "--parsable", f"--chdir={directory}", f"--array=1-{pilots}", *options]
    return [cluster.run(*command, input=script).strip()]


def _active(cluster: SlurmCluster, ids: Collection[str]) -> str:
    return cluster.run("squeue", "-h", "-j", ",".join(ids), "-t", "PENDING,RUNNING,COMPLETING")
