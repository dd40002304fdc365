"""Disks without room, as file systems of a few MB that are mounted for the test."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.service import Service, appears, until

Mount = Callable[[str], Path]

CONFIG = """
applications:
  script: {command_template: sh script.sh}
destinations:
  local:
    scheduler: {type: memory, slots: 10}
    filesystem: {type: local}
uploads: {min_free_bytes: 0}
"""


@pytest.fixture
def mount(own_service: Service) -> Iterator[Mount]:
    """Give a directory below the data directory a disk of its own, of 4 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount the small disks of these tests")
    (own_service.directory / "config.yaml").write_text(CONFIG)
    mounted: list[Path] = []

    def mount(name: str) -> Path:
        path = own_service.data_dir / name
        path.mkdir(mode=0o700, parents=True)
        command = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tests", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        mounted.append(path)
        return path

    yield mount
    for path in mounted:
        # Lazily: the server is stopped after this.
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(path: Path) -> Path:
    """Leave no room on the disk; return the file to remove for it."""
    ballast = path / ".ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    return ballast


async def test_an_upload(own_service: Service, mount: Mount) -> None:
    uploads = mount("uploads")
    await own_service.start()
    ballast = fill(uploads)
    content = own_service.archive({"script.sh": "true", "input": os.urandom(1_000_000)})
    refused = await own_service.client.put(
        "/api/application/script/job", content=content, headers={"Content-Type": "application/zip"}
    )
    assert refused.status_code == 507
    assert refused.json()["detail"] == "There is no room for the upload now; try again later."
    assert "Retry-After" in refused.headers
    assert list(uploads.iterdir()) == [ballast]
    assert (await own_service.client.get("/api/job/")).json() == []
    ballast.unlink()
    assert (await own_service.ended(await own_service.submit_archive(content)))["state"] == "ok"


async def test_unpacking(own_service: Service, mount: Mount) -> None:
    jobs = mount("jobs")
    await own_service.start()
    ballast = fill(jobs)
    files: dict[str, str | bytes] = {"script.sh": "echo ran >>ledger", "input": os.urandom(1_000_000)}
    job_id = await own_service.submit_archive(own_service.archive(files))
    job = await own_service.state_is(job_id, "error", "ok")
    assert (job["state"], job["reason_kind"]) == ("error", "staging")
    assert job["reason"] == (
        "The archive could not be unpacked (No space left on device); submit again later."
    )
    assert list(jobs.iterdir()) == [ballast]
    ballast.unlink()
    assert (await own_service.ended(await own_service.submit_archive(own_service.archive(files))))[
        "state"
    ] == "ok"


async def test_a_command_that_fills_the_disk(own_service: Service, mount: Mount) -> None:
    mount("jobs")
    await own_service.start()
    job = await own_service.ended(await own_service.run("head -c 8000000 /dev/zero >output || exit 9"))
    assert (job["state"], job["reason_kind"]) == ("error", "user error")
    assert job["reason"] == "The command ended with exit code 9; see stderr.txt."


async def test_results_of_steps(own_service: Service, mount: Mount) -> None:
    """What a step returned cannot be kept: it may run again after a crash, which is harmless."""
    disk = mount("results")
    await own_service.start()
    ballast = fill(disk)
    job_id = await own_service.run("echo ran >>ledger; while [ ! -e go ]; do sleep 0.1; done")
    await appears(own_service.job_dir(job_id) / "ledger")
    await own_service.kill("worker")
    (own_service.job_dir(job_id) / "go").touch()
    assert (await own_service.ended(job_id))["state"] == "ok"
    assert (own_service.job_dir(job_id) / "ledger").read_text() == "ran\n"
    await until(lambda: _holds_only(disk, ballast))


async def test_commands(own_service: Service, mount: Mount) -> None:
    """Jobs wait while their command cannot be written down; ends of those that run are written down."""
    disk = mount("commands")
    await own_service.start()
    runs = await own_service.run("echo ran >>ledger; while [ ! -e go ]; do sleep 0.1; done; echo done")
    await appears(own_service.job_dir(runs) / "ledger")
    ballast = fill(disk)
    waits = await own_service.run("echo ran >>ledger")

    async def is_explained() -> bool:
        reason = "Waiting: The command cannot be written down (No space left on device)."
        return bool((await own_service.job(waits))["reason"] == reason)

    await until(is_explained)
    (own_service.job_dir(runs) / "go").touch()
    assert (await own_service.ended(runs))["state"] == "ok"
    ballast.unlink()
    assert (await own_service.ended(waits))["state"] == "ok"
    for job_id in (runs, waits):
        assert (own_service.job_dir(job_id) / "ledger").read_text() == "ran\n"


async def _holds_only(directory: Path, file: Path) -> bool:
    return list(directory.iterdir()) == [file]
