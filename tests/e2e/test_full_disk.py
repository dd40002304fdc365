"""Disks without room, as file systems of a few MB in the data directory of a server of these tests.

Only the server sees them, in a mount namespace of its own: whatever ends the tests, no mount is left.
"""

import hashlib
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.service import Service, appears, until
from tests.flows.submitting import CLEANS_UP
from tests.services.slurm import SlurmCluster
from tests.services.sshd import SshServer

CONFIG = """
applications:
  script: {command_template: sh script.sh}
uploads: {min_free_bytes: 0}
destination_picker: picker.py:by_file
destinations:
  local:
    scheduler: {type: memory, slots: 10}
    filesystem: {type: local}
  limited:
    scheduler: {type: eager, timeout: 3, max_load: 1000}
    filesystem: {type: local}
"""
CLUSTER = """
  cluster:
    scheduler: {{type: slurm, ssh_config: &ssh {ssh}, poll_interval: 0.8}}
    filesystem: {{type: sftp, ssh_config: *ssh, entry: {entry}}}
"""
PICKER = """
def by_file(job_dir, application_name, submitter, context):
    return next((name for name in ("cluster", "limited") if (job_dir / name).exists()), "local")
"""

SMALL = "size=4m"
DISKS = ("uploads", "jobs", "results", "commands")
MOUNT = f"""set -e
for name in {" ".join(DISKS)}; do
    mkdir -p -m 0700 "$0/$name"
    mount -t tmpfs -o {SMALL},mode=0700 tests "$0/$name"
done
exec "$@"
"""


class SmallDisks(Service):
    """A server with directories of the data directory on disks of their own, of 4 MB."""

    def __init__(self, directory: Path, config: str) -> None:
        data = str(directory / "data")
        starter = ["unshare", "--mount", "--propagation=private", "sh", "-c", MOUNT, data]
        super().__init__(directory, config, starter=starter)

    def disk(self, name: str) -> Path:
        """Where the test sees what the server sees."""
        return Path(f"/proc/{self.pid}/root{self.data_dir}") / name

    def job_dir(self, job_id: int) -> Path:
        return self.disk("jobs") / str(job_id)

    def resize(self, name: str, size: str) -> None:
        command = ["mount", "-o", f"remount,{size}", str(self.data_dir / name)]
        subprocess.run(["nsenter", f"--target={self.pid}", "--mount", *command], check=True)

    async def clear(self) -> None:
        """Remove all jobs."""
        for job in (await self.client.get("/api/job/")).json():
            await self.client.delete(f"/api/job/{job['id']}")

        async def is_empty() -> bool:
            return not any(self.disk("jobs").iterdir())

        await until(is_empty)


@pytest.fixture(scope="module")
def far(request: pytest.FixtureRequest) -> tuple[SlurmCluster, SshServer, Path] | None:
    """A cluster, where there can be one, and a directory there for jobs."""
    try:
        cluster: SlurmCluster = request.getfixturevalue("slurm_cluster")
        server: SshServer = request.getfixturevalue("ssh_server")
    except pytest.skip.Exception:
        return None  # the end of the test run says so
    account = cluster.state.account
    return cluster, server, account.own(account.home / f"full-{uuid.uuid4()}")


@pytest_asyncio.fixture(scope="module")
async def started(
    far: tuple[SlurmCluster, SshServer, Path] | None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[SmallDisks]:
    directory = tmp_path_factory.mktemp("full")
    trial = ["unshare", "--mount", "mount", "-t", "tmpfs", "tests", str(directory)]
    done = subprocess.run(trial, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    config, environment = CONFIG, {}
    if far is not None:
        cluster, server, entry = far
        ssh, environment = json.dumps(server.login(server.stock)), cluster.environment
        config += CLUSTER.format(ssh=ssh, entry=entry)
    (directory / "picker.py").write_text(PICKER)
    service = SmallDisks(directory, config)
    await service.start(**environment)
    yield service
    await service.stop()
    if far is not None:
        shutil.rmtree(far[2])


@pytest_asyncio.fixture
async def service(started: SmallDisks) -> AsyncIterator[SmallDisks]:
    """One server for all tests here, with room on its disks and without jobs."""
    yield started
    for name in DISKS:
        (started.disk(name) / ".ballast").unlink(missing_ok=True)
    await started.clear()


def fill(path: Path) -> Path:
    """Leave no room on the disk; return the file to remove for it."""
    ballast = path / ".ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    return ballast


async def test_an_upload(service: SmallDisks) -> None:
    uploads = service.disk("uploads")
    ballast = fill(uploads)
    content = service.archive({"script.sh": "true", "input": os.urandom(1_000_000)})
    refused = await service.client.put(
        "/api/application/script/job", content=content, headers={"Content-Type": "application/zip"}
    )
    assert refused.status_code == 507
    assert refused.json()["detail"] == "There is no room for the upload now; try again later."
    assert "Retry-After" in refused.headers
    assert list(uploads.iterdir()) == [ballast]
    assert (await service.client.get("/api/job/")).json() == []
    ballast.unlink()
    assert (await service.ended(await service.submit_archive(content)))["state"] == "ok"


async def test_unpacking(service: SmallDisks) -> None:
    jobs = service.disk("jobs")
    ballast = fill(jobs)
    files: dict[str, str | bytes] = {"script.sh": "echo ran >>ledger", "input": os.urandom(1_000_000)}
    job_id = await service.submit_archive(service.archive(files))
    job = await service.state_is(job_id, "error", "ok")
    assert (job["state"], job["reason_kind"]) == ("error", "staging")
    assert job["reason"] == (
        "The archive could not be unpacked (No space left on device); submit again later."
    )
    assert list(jobs.iterdir()) == [ballast]
    ballast.unlink()
    assert (await service.ended(await service.submit_archive(service.archive(files))))["state"] == "ok"


async def test_a_command_that_fills_the_disk(service: SmallDisks) -> None:
    job = await service.ended(await service.run("head -c 8000000 /dev/zero >output || exit 9"))
    assert (job["state"], job["reason_kind"]) == ("error", "user error")
    assert job["reason"].startswith("The command ended with exit code 9")  # what it said had no room


async def test_results_of_steps(service: SmallDisks) -> None:
    """What a step returned cannot be kept: it may run again after a crash, which is harmless."""
    disk = service.disk("results")
    kept = {*disk.iterdir(), fill(disk)}  # of what failed in other tests there may be something
    job_id = await service.run("echo ran >>ledger; while [ ! -e go ]; do sleep 0.1; done")
    await appears(service.job_dir(job_id) / "ledger")
    await service.kill("worker")
    (service.job_dir(job_id) / "go").touch()
    assert (await service.ended(job_id))["state"] == "ok"
    assert (service.job_dir(job_id) / "ledger").read_text() == "ran\n"

    async def nothing_is_left() -> bool:
        return kept.issuperset(disk.iterdir())

    await until(nothing_is_left)


async def test_commands(service: SmallDisks) -> None:
    """Jobs wait while their command cannot be written down; ends of those that run are written down."""
    disk = service.disk("commands")
    runs = await service.run("echo ran >>ledger; while [ ! -e go ]; do sleep 0.1; done; echo done")
    await appears(service.job_dir(runs) / "ledger")
    ballast = fill(disk)
    waits = await service.run("echo ran >>ledger")

    async def is_explained() -> bool:
        reason = "Waiting: The command cannot be written down (No space left on device)."
        return bool((await service.job(waits))["reason"] == reason)

    await until(is_explained)
    (service.job_dir(runs) / "go").touch()
    assert (await service.ended(runs))["state"] == "ok"
    ballast.unlink()
    assert (await service.ended(waits))["state"] == "ok"
    for job_id in (runs, waits):
        assert (service.job_dir(job_id) / "ledger").read_text() == "ran\n"


async def test_endings(service: SmallDisks) -> None:
    """Commands can be ended on a full disk, for the reason that there was, with time to clean up."""
    script = f"{CLEANS_UP} & wait"
    limited = await service.submit({"script.sh": script, "limited": ""})
    cancelled = await service.run(script)
    jobs = [service.job_dir(job_id) for job_id in (limited, cancelled)]
    for job in jobs:
        await appears(job / "ready")
    fill(service.disk("commands"))
    await service.client.post(f"/api/job/{cancelled}/cancel")
    ends = [await service.ended(job_id) for job_id in (limited, cancelled)]
    assert [end["reason"] for end in ends] == [
        "The command ran longer than the 3 s it is allowed.",
        "You cancelled the job.",
    ]
    assert [(job / "cleaned.txt").exists() for job in jobs] == [True, True]


async def test_outputs_of_a_cluster(
    service: SmallDisks, far: tuple[SlurmCluster, SshServer, Path] | None
) -> None:
    """They wait there, while the server does other things, until there is room."""
    if far is None:
        pytest.skip("there is no cluster")
    _, _, entry = far
    script = "echo ran >>ledger; while [ ! -e go ]; do sleep 0.05; done; head -c 1000000 /dev/urandom >output"
    job_id = await service.submit({"script.sh": f"{script}; sha256sum <output", "cluster": ""})
    await service.state_is(job_id, "running")
    [there] = [path for path in entry.iterdir() if not path.name.startswith(".")]
    jobs = service.disk("jobs")
    ballast = fill(jobs)
    await appears(there / "ledger")
    (there / "go").touch()

    async def is_explained() -> bool:
        reason = (await service.job(job_id))["reason"] or ""
        return reason.startswith("Waiting: The server's disk has no room for the outputs")

    await until(is_explained)
    assert (await service.job(job_id))["state"] == "staging_out"
    assert (there / "output").stat().st_size == 1_000_000
    # Another worker waits too.
    await service.kill("worker")
    assert not (service.job_dir(job_id) / "output").exists()
    ballast.unlink()
    service.resize("jobs", "size=400m")
    try:
        job = await service.ended(job_id)
        assert (job["state"], job["reason"]) == ("ok", None)
        output = (service.job_dir(job_id) / "output").read_bytes()
        stdout = (service.job_dir(job_id) / "stdout.txt").read_text()
        assert stdout.split()[0] == hashlib.sha256(output).hexdigest()
        assert (service.job_dir(job_id) / "ledger").read_text() == "ran\n"
        await until(lambda: is_empty(entry))
    finally:
        await service.clear()
        service.resize("jobs", SMALL)


async def is_empty(directory: Path) -> bool:
    return not any(directory.iterdir())
