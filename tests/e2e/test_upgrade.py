"""A job that another version began is continued; what it has finished is not done again."""

import asyncio
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import TaskRun

from deployments.registration.names import ENTRYPOINT, FORMER_ENTRYPOINTS
from deployments.registration.upkeep_flows import UPKEEP
from tests.e2e.conftest import job_runs, prefect_client
from tests.e2e.service import Service, until

PACKAGES = ("api", "blocks", "deployments", "flows")


def older_version(checkout: Path, directory: Path) -> Path:
    """Copy the code, with steps whose source is another one."""
    for package in PACKAGES:
        shutil.copytree(checkout / package, directory / package)
    steps = directory / "flows/lifecycle/steps.py"
    source = steps.read_text()
    beginning = "    runtime = current()\n    job = await"
    assert source.count(beginning) >= 3
    older = source.replace(beginning, f"    _older = job_id\n{beginning}").replace(
        '    """', '    """Older: '
    )
    steps.write_text(older)
    return directory


def flat_version(checkout: Path, directory: Path) -> Path:
    """Take the last version whose modules all lay directly in ``flows`` out of the history."""

    def git(*arguments: str) -> bytes:
        return subprocess.run(["git", "-C", checkout, *arguments], capture_output=True, check=True).stdout

    try:
        moved = git("log", "--format=%H", "--diff-filter=DR", "--", "flows/places.py").split()[-1].decode()
        archive = git("archive", "--format=tar", f"{moved}^", "--", *PACKAGES, "alembic")
    except (IndexError, OSError, subprocess.CalledProcessError):
        pytest.skip("the checkout has no history, which has the former version")
    directory.mkdir()
    subprocess.run(["tar", "-x", "-C", directory], input=archive, check=True)
    return directory


async def task_runs(service: Service) -> list[TaskRun]:
    async with prefect_client(service) as prefect:
        runs = await job_runs(prefect)
        if not runs:
            return []
        wanted = FlowRunFilter(id=FlowRunFilterId(any_=[run.id for run in runs]))
        return await prefect.read_task_runs(flow_run_filter=wanted)


async def test_a_newer_worker_continues(own_service: Service, tmp_path: Path, checkout: Path) -> None:
    await own_service.start("--no-worker")
    # The directory that is found first is the code's.
    first = own_service.worker(PYTHONPATH=str(older_version(checkout, tmp_path / "older")))
    second: subprocess.Popen[bytes] | None = None
    try:
        job_id = await own_service.run("echo ran >>ledger; while [ ! -e go ]; do sleep 0.1; done")
        before = await _poll_is_under_way(own_service, job_id)
        first.kill()
        first.wait()
        second = own_service.worker(PYTHONPATH=str(checkout))
        await _ends_well(own_service, job_id, before)
    finally:
        for process in (first, second):
            if process is not None:
                process.kill()
                await asyncio.to_thread(process.wait, 180)


async def test_everything_of_the_version_before_the_rooms_goes_on(
    own_service: Service, tmp_path: Path, checkout: Path
) -> None:
    """A data directory with its results, its commands and their submissions, and what Prefect was told."""
    former = flat_version(checkout, tmp_path / "flat")
    config = own_service.directory / "config.yaml"
    config.write_text(f"{config.read_text()}destination_picker: flows.pickers:pick_first\n")
    own_service.from_nothing = True
    await own_service.start(PYTHONPATH=str(former))
    job_id = await own_service.run("echo ran >>ledger; while [ ! -e go ]; do sleep 0.1; done")
    before = await _poll_is_under_way(own_service, job_id)
    await until(lambda: _are_registered(own_service, set(FORMER_ENTRYPOINTS)))
    await own_service.stop(signal.SIGKILL)
    await own_service.start(PYTHONPATH=str(checkout))
    await _ends_well(own_service, job_id, before)
    ours = {ENTRYPOINT, *(upkeep.entrypoint for upkeep in UPKEEP)}
    await until(lambda: _are_registered(own_service, ours))


async def _poll_is_under_way(service: Service, job_id: int) -> dict[Path, int]:
    """Return the results of the steps before it, and when they were written."""
    await service.state_is(job_id, "running")
    results = service.data_dir / "results"
    await until(lambda: _has(results, 3))  # upload, pick_destination, submit
    return {path: path.stat().st_mtime_ns for path in results.glob("*/*")}


async def _ends_well(service: Service, job_id: int, before: dict[Path, int]) -> None:
    await until(lambda: _some_are_cached(service, 3))
    assert before == {path: path.stat().st_mtime_ns for path in before}
    (service.job_dir(job_id) / "go").touch()
    assert (await service.ended(job_id))["state"] == "ok"
    assert (service.job_dir(job_id) / "ledger").read_text() == "ran\n"


async def _has(results: Path, number: int) -> bool:
    return len(list(results.glob("*/*"))) >= number


async def _some_are_cached(service: Service, number: int) -> bool:
    cached = [run for run in await task_runs(service) if run.state is not None and run.state.name == "Cached"]
    return len(cached) == number


async def _are_registered(service: Service, entrypoints: set[str]) -> bool:
    async with prefect_client(service) as prefect:
        deployments = await prefect.read_deployments()
    upkeep = [deployment for deployment in deployments if not str(deployment.entrypoint).endswith(":run_job")]
    assert all(deployment.schedules and deployment.description for deployment in upkeep)
    return {deployment.entrypoint for deployment in deployments} == entrypoints
