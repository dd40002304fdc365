"""What is killed, and what becomes of the jobs then: every one ends well, no command runs twice."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelling

from tests.e2e.conftest import StartWorker, job_runs, prefect_client, runs_of
from tests.e2e.service import CONFIG, Service, appears, until, written

SCRIPT = "echo ran >>ledger; sleep 2; cat ledger"


async def submit_many(service: Service, number: int) -> list[int]:
    return list(await asyncio.gather(*(service.run(SCRIPT) for _ in range(number))))


async def assert_all_ran_once(service: Service, jobs: list[int]) -> None:
    ends = await asyncio.gather(*(service.ended(job_id) for job_id in jobs))
    assert [end["state"] for end in ends] == ["ok"] * len(jobs)
    ledgers = [(service.job_dir(job_id) / "ledger").read_text() for job_id in jobs]
    assert ledgers == ["ran\n"] * len(jobs)


@pytest_asyncio.fixture(scope="module")
async def server_of_module(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    service = Service(tmp_path_factory.mktemp("faults"), CONFIG.replace("slots: 50", "slots: 8"))
    yield service
    await service.stop()


@pytest_asyncio.fixture
async def server(server_of_module: Service) -> Service:
    """A server that may be stopped and killed."""
    if not server_of_module.is_running:
        await server_of_module.start()
    return server_of_module


@pytest.mark.parametrize("part", ["prefect", "worker", "api"])
async def test_a_part_is_killed_while_jobs_are_queued_and_run(server: Service, part: str) -> None:
    jobs = await submit_many(server, 20)
    await until(lambda: _some_run(server, jobs))
    await server.kill(part)
    await until(lambda: _is_healthy(server))
    await assert_all_ran_once(server, jobs)


async def _some_run(service: Service, jobs: list[int]) -> bool:
    states = {(await service.job(job_id))["state"] for job_id in jobs}
    return "running" in states


async def _is_healthy(service: Service) -> bool:
    try:
        return (await service.client.get("/api/health")).status_code == 200
    except OSError:
        return False


async def test_jobs_do_not_wait_for_a_prefect_server_that_is_away(server: Service) -> None:
    """It is told of their whole life afterwards."""
    await until(lambda: _has_heeded(server))
    pid = server.pid_of("prefect")
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    jobs = await submit_many(server, 5)
    await assert_all_ran_once(server, jobs)
    os.kill(pid, signal.SIGKILL)
    async with prefect_client(server) as prefect:

        async def are_told() -> bool:
            with suppress(httpx.HTTPError):
                runs = [run for run in await job_runs(prefect) if run.parameters["job_id"] in jobs]
                return len(runs) == len(jobs) and all(run.state_name == "Completed" for run in runs)
            return False

        await until(are_told)
        for run in [run for run in await job_runs(prefect) if run.parameters["job_id"] in jobs]:
            assert run.run_count == 1
            states = await prefect.read_flow_run_states(run.id)
            assert [state.name for state in states] == ["Scheduled", "Running", "Completed"]
            tasks = await prefect.read_task_runs(
                flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
            )
            assert [task.state_name for task in tasks] == ["Completed"] * 5


async def test_a_worker_is_killed_before_it_has_told_how_jobs_ended(server: Service) -> None:
    await until(lambda: _has_heeded(server))
    pid = server.pid_of("prefect")
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    jobs = await submit_many(server, 5)
    await assert_all_ran_once(server, jobs)
    await server.kill("worker")
    os.kill(pid, signal.SIGCONT)
    async with prefect_client(server) as prefect:

        async def are_told() -> bool:
            runs = [run for run in await job_runs(prefect) if run.parameters["job_id"] in jobs]
            return len(runs) == len(jobs) and all(run.state_name == "Completed" for run in runs)

        await until(are_told)


async def test_a_worker_begins_before_prefect_answers(server: Service) -> None:
    """It knows from before that nothing holds jobs back."""
    pid = server.pid_of("prefect")
    assert pid is not None
    await until(lambda: _has_heeded(server))
    os.kill(pid, signal.SIGSTOP)
    try:
        await server.kill("worker")
        await assert_all_ran_once(server, await submit_many(server, 3))
    finally:
        os.kill(pid, signal.SIGCONT)


async def _has_heeded(service: Service) -> bool:
    return any(service.data_dir.glob("heeded.*"))


async def test_stopping_leaves_no_process_and_loses_no_job(server: Service) -> None:
    """By Ctrl-C; all other tests stop their servers by SIGTERM."""
    jobs = await submit_many(server, 5)
    await until(lambda: _some_run(server, jobs))
    processes = server.processes()
    await server.stop(signal.SIGINT)
    left = [pid for pid in processes if _is_alive(pid) and "script.sh" not in processes[pid]]
    assert left == []
    await server.start()
    await assert_all_ran_once(server, jobs)


async def test_killing_the_server_leaves_no_process_and_loses_no_job(server: Service) -> None:
    jobs = await submit_many(server, 5)
    await until(lambda: _some_run(server, jobs))
    processes = [pid for pid, command in server.processes().items() if "script.sh" not in command]
    await server.stop(signal.SIGKILL)
    await until(lambda: _all_gone(processes))
    await server.start()
    await assert_all_ran_once(server, jobs)


async def _all_gone(pids: list[int]) -> bool:
    return not any(_is_alive(pid) for pid in pids)


def _is_alive(pid: int) -> bool:
    try:
        # One that has ended stays until its parent, perhaps a slow init, has noticed.
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_cancelled_while_the_worker_is_away(workerless: Service, workers: StartWorker) -> None:
    worker = workers()
    jobs = [await workerless.run("echo $$ >pid; sleep 1000") for _ in range(3)]
    for job_id in jobs:
        await workerless.state_is(job_id, "running")
        await written(workerless.job_dir(job_id) / "pid")
    async with prefect_client(workerless) as prefect:

        async def runs() -> list[FlowRun]:
            return list((await runs_of(workerless, prefect, jobs)).values())

        begun = await runs()
        worker.kill()
        worker.wait()
        for run in begun:
            await prefect.set_flow_run_state(run.id, Cancelling())
        workers()
        for job_id in jobs:
            assert (await workerless.ended(job_id))["reason_kind"] == "cancelled"
            assert not _is_alive(int((workerless.job_dir(job_id) / "pid").read_text()))

        async def all_cancelled() -> bool:
            return all(run.state is not None and run.state.is_cancelled() for run in await runs())

        await until(all_cancelled)


# It takes seconds to end, since SIGTERM does not do it.
TRAPPED = {"script.sh": "trap ': >told' TERM; : >ready; while :; do sleep 0.1; done"}


async def test_stopped_while_a_job_is_being_cancelled(workerless: Service, workers: StartWorker) -> None:
    worker = workers()
    job_id = await workerless.submit(TRAPPED, "alone")
    await appears(workerless.job_dir(job_id) / "ready")
    request = asyncio.create_task(workerless.client.post(f"/api/job/{job_id}/cancel"))
    await appears(workerless.job_dir(job_id) / "told")
    worker.terminate()
    await asyncio.to_thread(worker.wait, 180)
    assert (await request).status_code in {200, 202}
    workers()
    assert (await workerless.ended(job_id))["reason_kind"] == "cancelled"
    async with prefect_client(workerless) as prefect:

        async def is_cancelled() -> bool:
            run = (await runs_of(workerless, prefect, [job_id]))[job_id]
            return run.state is not None and run.state.is_cancelled()

        await until(is_cancelled)


async def test_a_request_that_waits_while_the_api_is_stopped(server: Service) -> None:
    job_id = await server.submit(TRAPPED, "alone")
    await appears(server.job_dir(job_id) / "ready")
    worker = server.pid_of("worker")
    assert worker is not None
    os.kill(worker, signal.SIGSTOP)  # so the request waits for it
    try:
        request = asyncio.create_task(server.client.delete(f"/api/job/{job_id}"))
        await until(lambda: _is_hidden(server, job_id))
        await server.kill("api", signal.SIGTERM)
        answer = await request
    finally:
        os.kill(worker, signal.SIGCONT)
    assert (answer.status_code, answer.headers.get("Retry-After")) == (503, "5")
    assert answer.json()["detail"] == "The server is stopping; try again in a few seconds."
    await until(lambda: _is_gone(server.job_dir(job_id)))


async def _is_hidden(service: Service, job_id: int) -> bool:
    return (await service.client.get(f"/api/job/{job_id}")).status_code == 404


async def _is_gone(path: Path) -> bool:
    return not path.exists()
