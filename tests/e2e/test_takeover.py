"""Workers that are killed or frozen: others continue their jobs, and nothing runs twice."""

import asyncio
import os
import signal

from tests.e2e.conftest import StartWorker, job_runs, prefect_client
from tests.e2e.service import Service, appears, until

RUNS_UNTIL_GO = "echo ran >>ledger; while [ ! -e go ]; do sleep 0.05; done; echo done"


async def running(service: Service, number: int) -> list[int]:
    jobs = [await service.run(RUNS_UNTIL_GO) for _ in range(number)]
    for job_id in jobs:
        await service.state_is(job_id, "running")
        await appears(service.job_dir(job_id) / "ledger")
    return jobs


async def assert_go_on(service: Service, jobs: list[int]) -> None:
    for job_id in jobs:
        (service.job_dir(job_id) / "go").touch()
    for job_id in jobs:
        assert (await service.ended(job_id))["state"] == "ok"
        assert (service.job_dir(job_id) / "ledger").read_text() == "ran\n"
        assert (service.job_dir(job_id) / "stdout.txt").read_text() == "done\n"
    async with prefect_client(service) as prefect:

        async def all_completed() -> bool:
            runs = [run for run in await job_runs(prefect) if run.parameters["job_id"] in jobs]
            return len(runs) == len(jobs) and all(run.state and run.state.is_completed() for run in runs)

        await until(all_completed)
    assert not [path for path in service.data_dir.glob("commands/*/*/*") if len(path.name) > 30]


async def test_jobs_of_a_killed_worker_go_on_with_another(workerless: Service, workers: StartWorker) -> None:
    first = workers("first")
    jobs = await running(workerless, 3)
    workers("second")
    first.kill()
    await assert_go_on(workerless, jobs)


async def test_a_frozen_worker_that_comes_back_changes_nothing(
    workerless: Service, workers: StartWorker
) -> None:
    first = workers("first")
    jobs = await running(workerless, 3)
    os.kill(first.pid, signal.SIGSTOP)
    workers("second")
    await assert_go_on(workerless, jobs)
    os.kill(first.pid, signal.SIGCONT)
    # It begins anew, and works.
    later = await running(workerless, 2)
    assert first.poll() is None
    for job_id in later:
        (workerless.job_dir(job_id) / "go").touch()
        assert (await workerless.ended(job_id))["state"] == "ok"
    for job_id in jobs:
        assert (await workerless.job(job_id))["state"] == "ok"
        assert (workerless.job_dir(job_id) / "ledger").read_text() == "ran\n"


async def test_the_successor_of_a_frozen_worker_takes_its_name(
    workerless: Service, workers: StartWorker
) -> None:
    first = workers("same")
    jobs = await running(workerless, 2)
    os.kill(first.pid, signal.SIGSTOP)
    workers("same")
    await assert_go_on(workerless, jobs)
    os.kill(first.pid, signal.SIGCONT)
    assert await asyncio.to_thread(first.wait, 60) == 2
    assert "a worker named same is running already" in workerless.log()
