"""Many jobs on a cluster that is reached by SSH: what they ask of it, and how soon their ends are known."""

import asyncio
import json
import re
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.bench.clusters import Missing, account_directory, cluster_and_ssh
from tests.bench.measuring import row
from tests.e2e.service import Service
from tests.services.slurm import SlurmCluster
from tests.services.sshd import SshServer

SHORTEST, LONGEST = 1.0, 4.0
"""Intervals between two questions to Slurm, as they are without configuration."""

CONFIG = """
applications:
  script:
    command_template: sh script.sh
    upload_needs: [script.sh]
destinations:
  there:
    scheduler: {{type: slurm, ssh_config: &ssh {ssh}}}
    filesystem: {{type: sftp, ssh_config: *ssh, entry: {entry}}}
"""


@dataclass
class Counts:
    """What the cluster and the SSH server have been asked for so far."""

    sessions: int
    logins: int
    squeue: int
    at: float

    @classmethod
    def now(cls, cluster: SlurmCluster, server: SshServer) -> "Counts":
        log = server.stock.log.read_text(errors="replace")
        questions = re.findall(r"REQUEST_JOB_(?:USER_)?INFO\s+\(\s*\d+\) count:(\d+)", cluster.run("sdiag"))
        return cls(
            log.count("Starting session:"),
            log.count("Accepted publickey"),
            sum(map(int, questions)),
            time.monotonic(),
        )


async def cluster_jobs(jobs: int, alone: int) -> None:
    try:
        with cluster_and_ssh() as (cluster, server):
            async with serving(cluster, server) as service:
                await ends(service, alone)
                await at_once(service, cluster, server, jobs)
                await old_jobs(service, cluster, server, jobs)
    except Missing as missing:
        row("(m) jobs on Slurm by SSH", f"left out: {missing}")


@asynccontextmanager
async def serving(cluster: SlurmCluster, server: SshServer) -> AsyncIterator[Service]:
    ssh = json.dumps(server.login(server.stock))
    async with account_directory(server) as entry:
        with tempfile.TemporaryDirectory() as directory:
            service = Service(Path(directory), CONFIG.format(ssh=ssh, entry=entry))
            try:
                await service.start()
                await service.ended(await service.run("true"))  # warm up
                yield service
            finally:
                await service.stop()


async def submitted(service: Service, script: str, jobs: int) -> list[int]:
    limit = asyncio.Semaphore(8)

    async def one() -> int:
        async with limit:
            return await service.run(script)

    return await asyncio.gather(*(one() for _ in range(jobs)))


async def ends(service: Service, jobs: int) -> None:
    """Take the time from what the job writes last to the moment that the server gives for its end."""
    late = []
    for n in range(jobs):
        job_id = await service.run(f"sleep {n / 5}; date +%s.%N >end")
        job = await service.ended(job_id)
        assert job["state"] == "ok", job
        end = float((service.job_dir(job_id) / "end").read_text())
        late.append(datetime.fromisoformat(job["updated_on"]).timestamp() - end)
    row(f"(m) end of a job at Slurm to ok, {jobs} jobs, median", f"{statistics.median(late):.2f} s")
    row("(m) the longest of these", f"{max(late):.2f} s")


async def at_once(service: Service, cluster: SlurmCluster, server: SshServer, jobs: int) -> None:
    before = Counts.now(cluster, server)
    ids = await submitted(service, "sleep 1", jobs)
    ended = [await service.state_is(job_id, "ok", "error", seconds=300) for job_id in ids]
    after = Counts.now(cluster, server)
    seconds = after.at - before.at
    ok = sum(job["state"] == "ok" for job in ended)
    row(f"(m) {jobs} jobs of 1 s at once, ended ok", f"{ok} in {seconds:.0f} s")
    row("(m) SSH commands for each of them", f"{(after.sessions - before.sessions) / jobs:.1f}")
    row("(m) SSH connections made for all of them", f"{after.logins - before.logins}")
    _squeue("while these run", SHORTEST, before, after)


async def old_jobs(service: Service, cluster: SlurmCluster, server: SshServer, jobs: int) -> None:
    """Of jobs so old that the interval is the longest."""
    ids = await submitted(service, "sleep 600", jobs)
    for job_id in ids:
        await service.state_is(job_id, "queued", "running")
    await asyncio.sleep(6 * LONGEST)
    before = Counts.now(cluster, server)
    await asyncio.sleep(8 * LONGEST)
    after = Counts.now(cluster, server)
    _squeue(f"while {jobs} jobs are older than 20 s", LONGEST, before, after)
    row(
        f"(m) all SSH commands in an interval of {LONGEST:.0f} s then",
        f"{_rate(after.sessions - before.sessions, LONGEST, before, after):.2f}",
    )


def _squeue(when: str, interval: float, before: Counts, after: Counts) -> None:
    rate = _rate(after.squeue - before.squeue, interval, before, after)
    row(f"(m) squeue in an interval of {interval:.0f} s, {when}", f"{rate:.2f}")


def _rate(count: int, interval: float, before: Counts, after: Counts) -> float:
    return count / (after.at - before.at) * interval
