"""Faults between a whole server and its cluster, with twenty jobs in flight: none is lost or runs twice."""

import asyncio
import hashlib
import json
import random
import shutil
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.service import Service, until
from tests.services.slurm import SlurmCluster
from tests.services.sshd import SshServer

CONFIG = """
applications:
  script:
    command_template: sh script.sh
    upload_needs: [script.sh]
destinations:
  there:
    scheduler: {{type: slurm, ssh_config: &ssh {ssh}, poll_interval: 0.1}}
    filesystem: {{type: sftp, ssh_config: *ssh, entry: {entry}}}
"""

pytestmark = pytest.mark.long

JOBS = 20
SCRIPT = "echo ran >>ledger; sleep {seconds}; tr a-z A-Z <input >output"

Fault = Callable[[SlurmCluster, SshServer], Awaitable[None]]


@pytest_asyncio.fixture(scope="module")
async def entry(slurm_cluster: SlurmCluster) -> AsyncIterator[Path]:
    account = slurm_cluster.state.account
    path = account.own(account.home / f"entry-{uuid.uuid4()}")
    yield path
    shutil.rmtree(path)


@pytest_asyncio.fixture(scope="module")
async def service(
    slurm_cluster: SlurmCluster, ssh_server: SshServer, entry: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    ssh = json.dumps(ssh_server.login(ssh_server.stock))
    service = Service(tmp_path_factory.mktemp("faults"), CONFIG.format(ssh=ssh, entry=entry))
    await service.start(**slurm_cluster.environment)
    yield service
    await service.stop()


def content(number: int) -> str:
    letters = random.Random(number)
    return "".join(letters.choice("abcdefgh\n") for _ in range(200_000))


async def submit(service: Service) -> dict[int, str]:
    """Submit jobs that take a while each; return what they have to write."""
    jobs = {}
    for number in range(JOBS):
        text = content(number)
        files = {"script.sh": SCRIPT.format(seconds=number % 5), "input": text}
        jobs[await service.submit(files)] = hashlib.sha256(text.upper().encode()).hexdigest()
    return jobs


async def sshd_is_killed(_cluster: SlurmCluster, ssh: SshServer) -> None:
    for _ in range(3):
        await asyncio.to_thread(ssh.stock.crash)
        await asyncio.sleep(1)
        await asyncio.to_thread(ssh.stock.start)
        await asyncio.sleep(2)


async def connections_are_cut(_cluster: SlurmCluster, ssh: SshServer) -> None:
    """At moments that fall into stage in, submission, questions and stage out."""
    moments = random.Random(1)
    cut = 0
    for _ in range(25):
        await asyncio.sleep(moments.uniform(0.1, 0.7))
        cut += await asyncio.to_thread(ssh.stock.drop_connections)
    assert cut >= 10


async def slurmctld_is_killed(cluster: SlurmCluster, _ssh: SshServer) -> None:
    # Not right after a submission: what slurmctld has not written down yet is lost with it.
    await asyncio.sleep(5)
    await asyncio.to_thread(cluster.slurmctld.kill)
    await asyncio.sleep(12)
    await asyncio.to_thread(cluster.slurmctld.start)


async def slurmdbd_is_down(cluster: SlurmCluster, _ssh: SshServer) -> None:
    await asyncio.to_thread(cluster.slurmdbd.stop)
    await asyncio.sleep(10)
    await asyncio.to_thread(cluster.slurmdbd.start)


@pytest.fixture
def mended(slurm_cluster: SlurmCluster, ssh_server: SshServer) -> Iterator[None]:
    yield
    for daemon in (ssh_server.stock, slurm_cluster.slurmdbd, slurm_cluster.slurmctld):
        daemon.start()


@pytest.mark.usefixtures("mended")
@pytest.mark.parametrize(
    "fault", [sshd_is_killed, connections_are_cut, slurmctld_is_killed, slurmdbd_is_down]
)
async def test_twenty_jobs(
    service: Service, slurm_cluster: SlurmCluster, ssh_server: SshServer, entry: Path, fault: Fault
) -> None:
    before = len(service.log())
    submitting = asyncio.create_task(submit(service))
    await fault(slurm_cluster, ssh_server)
    jobs = await submitting
    if fault is not slurmdbd_is_down:  # it is asked only about what squeue does not show any more
        assert " waits in " in service.log()[before:]
    for job_id, expected in jobs.items():
        job = await service.state_is(job_id, "ok", "error", seconds=180)
        assert job["state"] == "ok", job
        directory = service.job_dir(job_id)
        assert (directory / "ledger").read_text() == "ran\n"
        assert hashlib.sha256((directory / "output").read_bytes()).hexdigest() == expected

    async def nothing_is_left() -> bool:
        queue = await asyncio.to_thread(slurm_cluster.run, "squeue", "-h")
        return not queue and not any(entry.iterdir())

    await until(nothing_is_left)
