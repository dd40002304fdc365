"""A cluster behind an sshd that is stopped, and jobs that go elsewhere or do not."""

import asyncio
import math
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from deployments.worker.reporter import Reporter
from flows.configuration.config import Config
from flows.database.pool import Pool
from flows.disk.places import Place
from flows.errors import Unavailable
from flows.jobs.job import Job, State
from flows.lifecycle import steps
from flows.lifecycle.left_behind import leave_former_destinations
from flows.lifecycle.runtime import Runtime, open_runtime
from flows.pickers import pick_first
from tests.all_jobs import AllJobs
from tests.flows.running import new_job, run
from tests.services.slurm import SlurmCluster
from tests.services.sshd import Sshd, SshServer
from tests.waiting import until, until_it_works

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def sshd(ssh_server: SshServer) -> Iterator[Sshd]:
    yield ssh_server.stock
    ssh_server.stock.start()


@pytest.fixture
def entry(ssh_server: SshServer) -> Iterator[Path]:
    entry = ssh_server.home / f"jobs-{secrets.token_hex(4)}"
    yield entry
    shutil.rmtree(entry, ignore_errors=True)


@pytest.fixture
async def runtime(
    pool: Pool, tmp_path: Path, slurm_cluster: SlurmCluster, ssh_server: SshServer, sshd: Sshd, entry: Path
) -> AsyncIterator[Runtime]:
    ssh_config = ssh_server.login(sshd)
    cluster = {
        "scheduler": {"type": "slurm", "ssh_config": ssh_config, "poll_interval": 0.1},
        "filesystem": {"type": "sftp", "ssh_config": ssh_config, "entry": str(entry)},
        "failover": True,
    }
    here = {"scheduler": {"type": "memory"}, "filesystem": {"type": "local"}}
    configured = Config.model_validate(
        {
            "applications": {"a": {"command_template": "true"}},
            "destinations": {"cluster": cluster, "here": here},
        }
    )
    place = Place(tmp_path / "data", tmp_path / "jobs")
    async with open_runtime(AllJobs(pool), configured, place, pick_first) as runtime:
        yield runtime


async def look(runtime: Runtime, *, reachable: bool) -> None:
    """Look at the destinations as the worker does, until the cluster is found so."""

    async def found() -> None:
        await Reporter(runtime, runtime.place.worker).report()
        runtime.conditions._found_at = -math.inf
        if (await runtime.conditions.found())["cluster"].reachable is not reachable:
            raise Unavailable("not yet")

    await until_it_works(found)


async def test_what_is_not_there_yet_goes_elsewhere(runtime: Runtime, sshd: Sshd, entry: Path) -> None:
    job = await new_job(runtime, "echo ran >>ledger")
    # As far as a worker came that was killed before it handed the command over.
    await steps.upload(job.id)
    assert await steps.pick_destination(job.id) == "cluster"
    there = await runtime.destinations["cluster"].filesystem.stage_in(
        runtime.place.job_dir(job.id), str(job.token)
    )
    with sshd.away():
        await look(runtime, reachable=False)
        ended, _ = await run(runtime, job)
        await leave_former_destinations(runtime)
        assert there.exists()
    assert (ended.state, ended.destination, ended.left_behind) == ("ok", "here", ["cluster"])
    assert ledger(runtime, job) == "ran\n"
    await look(runtime, reachable=True)

    async def is_left() -> None:
        await leave_former_destinations(runtime)
        if (await runtime.jobs.get(job.id)).left_behind:
            raise Unavailable("not yet")

    await until_it_works(is_left)
    assert list(entry.iterdir()) == []


async def test_what_is_there_stays_there(runtime: Runtime, sshd: Sshd, entry: Path) -> None:
    job = await new_job(runtime, "echo ran >>ledger; while [ ! -e go ]; do sleep 0.05; done")
    running = asyncio.create_task(run(runtime, job))
    await until(lambda: any(entry.glob("*/ledger")))
    with sshd.away():
        await look(runtime, reachable=False)
        (next(entry.glob("*/ledger")).parent / "go").touch()
    ended, _ = await running
    assert (ended.state, ended.destination, ended.left_behind) == (State.OK, "cluster", [])
    assert ledger(runtime, job) == "ran\n"


def ledger(runtime: Runtime, job: Job) -> str:
    return (runtime.place.job_dir(job.id) / "ledger").read_text()
