"""Interactive applications where API processes share a host, are stopped and are killed."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from api.interactive import turns
from api.interactive.scratch import scratch
from tests.api.conftest import Site
from tests.api.interactive.running import has_ended, is_running, run, until_exists, written
from tests.api.processes import client_of, second_process

FILE = {"script": "echo $$ > pid; sleep 1000", "file": "content\n"}


def directories(site: Site) -> set[Path]:
    """Return the directories of processes for their temporary files."""
    return {path for path in (site.data_dir / "interactive" / "files").iterdir() if path.is_dir()}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_the_end_of_a_process(site: Site, tmp_path: Path, number: signal.Signals) -> None:
    """It takes its commands with it, and their files are removed then or by who starts next."""
    job = await site.ended_job({})
    before = directories(site)
    async with second_process(site, tmp_path) as process:
        client = await client_of(site, process)
        sending = asyncio.create_task(client.post(f"/api/job/{job.id}/interactive/file", json=FILE))
        pid = int(await written(site.job_dir(job) / "pid"))
        [directory] = directories(site) - before
        assert [path.read_text() for path in directory.glob("*/*")] == ["content\n"]
        await process.end(number)
        [outcome] = await asyncio.gather(sending, return_exceptions=True)
        if number == signal.SIGTERM:
            assert isinstance(outcome, httpx.Response)
            assert outcome.status_code == 503
    await has_ended(pid)
    if number == signal.SIGKILL:
        assert directory in directories(site)
        async with scratch(site.data_dir / "interactive" / "files"):
            assert directory not in directories(site)
    assert directories(site) == before  # and what is in use was left alone
    assert (await run(await site.client(), job, "echo next")).json()["stdout"] == "next\n"


async def test_one_at_a_time_for_a_job_also_of_another_process(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await site.ended_job({})
    alice = await site.client()
    async with second_process(site, tmp_path) as process:
        other = await client_of(site, process)
        first = asyncio.create_task(run(other, job, "touch first; while ! test -e go; do sleep 0.1; done"))
        await until_exists(site.job_dir(job) / "first")
        monkeypatch.setattr(turns, "PATIENCE", 0.2)
        assert (await run(alice, job, "touch second")).status_code == 503
        monkeypatch.setattr(turns, "PATIENCE", 60)
        second = asyncio.create_task(run(alice, job, "test -e go && echo second"))
        (site.job_dir(job) / "go").touch()
        assert (await second).json()["stdout"] == "second\n"
        assert (await first).status_code == 200


async def test_two_jobs_of_one_directory(
    site: Site, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 0.2)
    job = await site.ended_job({})
    linked = await site.ended_job({})
    site.job_dir(linked).rmdir()
    site.job_dir(linked).symlink_to(site.job_dir(job))
    first = asyncio.create_task(run(alice, job, "touch first; while ! test -e go; do sleep 0.1; done"))
    await until_exists(site.job_dir(job) / "first")
    assert (await run(alice, linked, "true")).status_code == 503
    (site.job_dir(job) / "go").touch()
    assert (await first).status_code == 200


CRASHING = """
import asyncio, os
from flows.local import quick_commands

async def main():
    directory = os.open(".", os.O_RDONLY)
    await quick_commands.run("echo $$ > pid; sleep 1000", directory, seconds=60)

asyncio.run(main())
"""


async def test_a_command_does_not_outlive_who_runs_it(tmp_path: Path, checkout: Path) -> None:
    runner = subprocess.Popen(
        [sys.executable, "-c", CRASHING], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(checkout)}
    )
    pid = int(await written(tmp_path / "pid"))
    assert is_running(pid)
    runner.kill()
    runner.wait()
    await has_ended(pid)
