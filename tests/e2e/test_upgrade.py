"""A job that a worker of another version began is continued; what it has finished is not done again."""

import asyncio
import shutil
import subprocess
from pathlib import Path

from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import TaskRun

from tests.e2e.conftest import job_runs, prefect_client
from tests.e2e.service import Service, until

PACKAGES = ("api", "blocks", "deployments", "flows")


def older_version(checkout: Path, directory: Path) -> Path:
    """Copy the code, with steps whose source is another one."""
    for package in PACKAGES:
        shutil.copytree(checkout / package, directory / package)
    tasks = directory / "flows/tasks.py"
    source = tasks.read_text()
    beginning = "    runtime = current()\n    job = await"
    assert source.count(beginning) >= 3
    older = source.replace(beginning, f"    _older = job_id\n{beginning}").replace(
        '    """', '    """Older: '
    )
    tasks.write_text(older)
    return directory


async def task_runs(service: Service) -> list[TaskRun]:
    async with prefect_client(service) as prefect:
        [run] = await job_runs(prefect)
        wanted = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
        return await prefect.read_task_runs(flow_run_filter=wanted)


async def test_a_newer_worker_continues(own_service: Service, tmp_path: Path, checkout: Path) -> None:
    await own_service.start("--no-worker")
    # The directory that is found first is the code's.
    first = own_service.worker(PYTHONPATH=str(older_version(checkout, tmp_path / "older")))
    second: subprocess.Popen[bytes] | None = None
    try:
        job_id = await own_service.run("echo ran >>ledger; while [ ! -e go ]; do sleep 0.1; done")
        await own_service.state_is(job_id, "running")
        results = own_service.data_dir / "results"
        await until(lambda: _has(results, 3))  # upload, pick_destination, submit
        before = {path: path.stat().st_mtime_ns for path in results.glob("*/*")}
        first.kill()
        first.wait()
        second = own_service.worker(PYTHONPATH=str(checkout))
        await until(lambda: _some_are_cached(own_service, 3))
        assert before == {path: path.stat().st_mtime_ns for path in before}
        (own_service.job_dir(job_id) / "go").touch()
        assert (await own_service.ended(job_id))["state"] == "ok"
        assert (own_service.job_dir(job_id) / "ledger").read_text() == "ran\n"
    finally:
        for process in (first, second):
            if process is not None:
                process.kill()
                await asyncio.to_thread(process.wait, 10)


async def _has(results: Path, number: int) -> bool:
    return len(list(results.glob("*/*"))) >= number


async def _some_are_cached(service: Service, number: int) -> bool:
    cached = [run for run in await task_runs(service) if run.state is not None and run.state.name == "Cached"]
    return len(cached) == number
