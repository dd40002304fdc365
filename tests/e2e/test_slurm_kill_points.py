"""SIGKILL after each statement of a job on a Slurm cluster that changes something outside of the process.

All points share one server, one cluster and one killed worker: each job is held at its point until all are
there.
"""

import asyncio
import json
import random
import shutil
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.e2e.held_jobs import HeldJobs
from tests.e2e.service import Service, until, written
from tests.services.slurm import SlurmCluster
from tests.services.sshd import SshServer

CONFIG = """
applications:
  script: {{command_template: sh script.sh}}
destinations:
  shell:
    scheduler: {{type: slurm, ssh_config: &ssh {ssh}, poll_interval: 0.2}}
    filesystem: {{type: sftp, ssh_config: *ssh, entry: {entry}/shell}}
  plain:
    scheduler: {{type: slurm, ssh_config: *ssh, poll_interval: 0.2}}
    filesystem: {{type: sftp, ssh_config: {sftp_only}, entry: {entry}/plain}}
destination_picker: picker.py:by_file
"""
PICKER = """
def by_file(job_dir, application_name, submitter, context):
    return (job_dir / "destination").read_text()
"""

STEPS = ["put", "publish", "fetch", "remove"]
SIDES = {"shell": "flows.staging.by_shell:ByShell", "plain": "flows.staging.by_sftp:BySftp"}

# In the order in which a job meets them.
RUN = [
    "flows.filesystems.sftp:Filesystem.stage_in",
    "flows.batch.by_commands:CommandCluster.submit",
    "flows.jobs.owned:OwnedJobs.submitted",
    "flows.jobs.owned:OwnedJobs.advance",
    "flows.lifecycle.steps:_watch",
    "flows.filesystems.sftp:Filesystem.stage_out",
    "flows.jobs.owned:OwnedJobs.complete",
    "flows.filesystems.sftp:Filesystem.remove",
    "flows.batch.scheduling:BatchScheduler.forget",
    "flows.lifecycle.ending:ended",
]
CANCEL = [
    "flows.batch.by_commands:CommandCluster.mark_cancelled",
    "flows.batch.by_commands:CommandCluster.cancel",
    "flows.batch.scheduling:BatchScheduler.cancel",
    "flows.jobs.owned:OwnedJobs.fail",
    "flows.filesystems.sftp:Filesystem.remove",
    "flows.lifecycle.ending:leave_destination",
]
# Killed here, and cancelled while there is no worker.
CANCELLED_MEANWHILE = [
    "flows.filesystems.sftp:Filesystem.stage_in",
    "flows.batch.by_commands:CommandCluster.submit",
    "flows.jobs.owned:OwnedJobs.submitted",
    "flows.jobs.owned:OwnedJobs.advance",
]


class Place:
    """A server without a worker, and where jobs keep ledgers that no staging touches."""

    def __init__(self, service: Service, entry: Path) -> None:
        self.service = service
        self.entry = entry
        self.held = HeldJobs(service)
        self.contents: dict[int, str] = {}
        self.ledgers: dict[int, Path] = {}

    async def submit(self, point: str, rest: str, destination: str = "shell") -> int:
        """Submit a job that will be held at the point."""
        text, ledger = content(len(self.ledgers)), self.entry / f"ledger-{len(self.ledgers)}"
        script = f"echo ran >>{ledger}; tr a-z A-Z <input >output; {rest}"
        job_id = await self.service.submit(
            {"script.sh": script, "input": text, "deep/er/input": text, "destination": destination}
        )
        self.held.hold(job_id, point)
        self.contents[job_id], self.ledgers[job_id] = text, ledger
        return job_id

    def cancelling(self, jobs: Iterable[int]) -> list[asyncio.Task[httpx.Response]]:
        return [asyncio.create_task(self.service.client.post(f"/api/job/{job_id}/cancel")) for job_id in jobs]

    async def assert_ok(self, job_id: int) -> None:
        job = await self.service.ended(job_id)
        assert job["state"] == "ok", (self.held.points[job_id], job["reason"])
        directory, text = self.service.job_dir(job_id), self.contents[job_id]
        assert (directory / "output").read_text() == text.upper(), self.held.points[job_id]
        assert (directory / "deep/er/input").read_text() == text, self.held.points[job_id]
        assert self.ledgers[job_id].read_text() == "ran\n", self.held.points[job_id]

    async def assert_cancelled(self, job_id: int, runs: Sequence[str]) -> None:
        """``runs`` are what may be in the job's ledger."""
        job = await self.service.ended(job_id)
        assert job["reason"] == "You cancelled the job.", self.held.points[job_id]
        ledger = self.ledgers[job_id]
        assert (ledger.read_text() if ledger.exists() else "") in runs, self.held.points[job_id]

    async def assert_nothing_is_left(self, cluster: SlurmCluster) -> None:
        async def clean() -> bool:
            queue = await asyncio.to_thread(cluster.run, "squeue", "-h")
            left = [path for name in SIDES for path in (self.entry / name).iterdir()]
            left += (self.service.data_dir / "jobs").glob(".*")
            left += (self.service.data_dir / "results").iterdir()
            return not queue and not left

        await until(clean)


def content(number: int) -> str:
    letters = random.Random(number)
    return "".join(letters.choice("abcdefgh\n") for _ in range(50_000))


@pytest_asyncio.fixture
async def place(
    slurm_cluster: SlurmCluster, ssh_server: SshServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Place]:
    account = slurm_cluster.state.account
    entry = account.own(account.home / f"entry-{uuid.uuid4()}")
    logins = {
        name: json.dumps(ssh_server.login(sshd))
        for name, sshd in {"ssh": ssh_server.stock, "sftp_only": ssh_server.sftp_only}.items()
    }
    service = Service(tmp_path_factory.mktemp("slurm-killed"), CONFIG.format(entry=entry, **logins))
    (service.directory / "picker.py").write_text(PICKER)
    await service.start("--no-worker")
    yield Place(service, entry)
    await service.stop()
    shutil.rmtree(entry)


async def test_a_worker_at_each_step_of_jobs_on_a_cluster(place: Place, slurm_cluster: SlurmCluster) -> None:
    run = [await place.submit(point, "true") for point in RUN]
    for destination, side in SIDES.items():
        run += [await place.submit(f"{side}.{step}", "true", destination) for step in STEPS]
    cancelled = [await place.submit(point, "sleep 1000") for point in CANCEL]
    meanwhile = [await place.submit(point, "sleep 1000") for point in CANCELLED_MEANWHILE]

    worker = place.held.worker()
    try:
        await written(*(place.ledgers[job_id] for job_id in cancelled))
        requests = place.cancelling(cancelled)
        await place.held.all_are_there()
    finally:
        worker.kill()
        worker.wait()
    await asyncio.gather(*requests, *place.cancelling(meanwhile))

    worker = place.service.worker()
    try:
        for job_id in run:
            await place.assert_ok(job_id)
        for job_id in cancelled:
            await place.assert_cancelled(job_id, ["ran\n"])
        for job_id in meanwhile:
            await place.assert_cancelled(job_id, ["", "ran\n"])
        await place.assert_nothing_is_left(slurm_cluster)
    finally:
        worker.terminate()
        await asyncio.to_thread(worker.wait, 180)
