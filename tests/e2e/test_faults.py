"""What is killed, and what becomes of the jobs then: every one ends well, no command runs twice."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from prefect.states import Cancelling

from tests.e2e.conftest import job_runs, prefect_client
from tests.e2e.service import Service, appears, until

SCRIPT = "echo ran >>ledger; sleep 2; cat ledger"


async def submit_many(service: Service, number: int) -> list[int]:
    return list(await asyncio.gather(*(service.run(SCRIPT) for _ in range(number))))


async def assert_all_ran_once(service: Service, jobs: list[int]) -> None:
    ends = await asyncio.gather(*(service.ended(job_id) for job_id in jobs))
    assert [end["state"] for end in ends] == ["ok"] * len(jobs)
    ledgers = [(service.job_dir(job_id) / "ledger").read_text() for job_id in jobs]
    assert ledgers == ["ran\n"] * len(jobs)


@pytest.mark.parametrize("part", ["prefect", "worker", "api"])
async def test_a_part_is_killed_while_jobs_are_queued_and_run(own_service: Service, part: str) -> None:
    (own_service.directory / "config.yaml").write_text(
        (own_service.directory / "config.yaml").read_text().replace("slots: 50", "slots: 8")
    )
    await own_service.start()
    jobs = await submit_many(own_service, 20)
    await until(lambda: _some_run(own_service, jobs))
    await own_service.kill(part)
    await until(lambda: _is_healthy(own_service))
    await assert_all_ran_once(own_service, jobs)


async def _some_run(service: Service, jobs: list[int]) -> bool:
    states = {(await service.job(job_id))["state"] for job_id in jobs}
    return "running" in states


async def _is_healthy(service: Service) -> bool:
    try:
        return (await service.client.get("/api/health")).status_code == 200
    except OSError:
        return False


async def test_jobs_wait_for_a_prefect_server_that_is_away(own_service: Service) -> None:
    await own_service.start()
    pid = own_service.pid_of("prefect")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    jobs = await submit_many(own_service, 5)  # answered while it is away
    await assert_all_ran_once(own_service, jobs)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_stopping_leaves_no_process_and_loses_no_job(
    own_service: Service, number: signal.Signals
) -> None:
    await own_service.start()
    jobs = await submit_many(own_service, 5)
    await until(lambda: _some_run(own_service, jobs))
    processes = own_service.processes()
    assert await own_service.stop(number) < 10
    left = [pid for pid in processes if _is_alive(pid) and "script.sh" not in processes[pid]]
    assert left == []
    await own_service.start()
    await assert_all_ran_once(own_service, jobs)


async def test_killing_the_server_leaves_no_process_and_loses_no_job(own_service: Service) -> None:
    await own_service.start()
    jobs = await submit_many(own_service, 5)
    await until(lambda: _some_run(own_service, jobs))
    processes = [pid for pid, command in own_service.processes().items() if "script.sh" not in command]
    await own_service.stop(signal.SIGKILL)
    await until(lambda: _all_gone(processes), 15)
    await own_service.start()
    await assert_all_ran_once(own_service, jobs)


async def _all_gone(pids: list[int]) -> bool:
    return not any(_is_alive(pid) for pid in pids)


def _is_alive(pid: int) -> bool:
    try:
        # One that has ended stays until its parent, perhaps a slow init, has noticed.
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_cancelled_while_the_worker_is_away(own_service: Service) -> None:
    await own_service.start("--no-worker")
    worker = own_service.command("worker")
    jobs = [await own_service.run("echo $$ >pid; sleep 1000") for _ in range(3)]
    for job_id in jobs:
        await own_service.state_is(job_id, "running")
    worker.kill()
    worker.wait()
    async with prefect_client(own_service) as prefect:
        for run in await job_runs(prefect):
            await prefect.set_flow_run_state(run.id, Cancelling())
        worker = own_service.command("worker")
        try:
            for job_id in jobs:
                assert (await own_service.ended(job_id))["reason_kind"] == "cancelled"
                assert not _is_alive(int((own_service.job_dir(job_id) / "pid").read_text()))

            async def all_cancelled() -> bool:
                runs = await job_runs(prefect)
                return all(run.state is not None and run.state.is_cancelled() for run in runs)

            await until(all_cancelled)
        finally:
            worker.terminate()
            await asyncio.to_thread(worker.wait, 10)


async def test_stopped_while_a_job_is_being_cancelled(own_service: Service) -> None:
    config = own_service.directory / "config.yaml"
    config.write_text(config.read_text().replace("sh script.sh", "exec sh script.sh"))
    await own_service.start("--no-worker")
    worker = own_service.command("worker")
    # It takes seconds to end, since SIGTERM does not do it.
    job_id = await own_service.run("trap ': >told' TERM; : >ready; while :; do sleep 0.1; done")
    await appears(own_service.job_dir(job_id) / "ready")
    request = asyncio.create_task(own_service.client.post(f"/api/job/{job_id}/cancel"))
    await appears(own_service.job_dir(job_id) / "told")
    worker.terminate()
    await asyncio.to_thread(worker.wait, 30)
    assert (await request).status_code in {200, 202}
    worker = own_service.command("worker")
    try:
        assert (await own_service.ended(job_id))["reason_kind"] == "cancelled"
        async with prefect_client(own_service) as prefect:

            async def is_cancelled() -> bool:
                [run] = await job_runs(prefect)
                return run.state is not None and run.state.is_cancelled()

            await until(is_cancelled, 20)
    finally:
        worker.terminate()
        await asyncio.to_thread(worker.wait, 10)


async def test_a_request_that_waits_while_the_api_is_stopped(own_service: Service) -> None:
    config = own_service.directory / "config.yaml"
    config.write_text(config.read_text().replace("sh script.sh", "exec sh script.sh"))
    await own_service.start()
    job_id = await own_service.run("trap ': >told' TERM; : >ready; while :; do sleep 0.1; done")
    await appears(own_service.job_dir(job_id) / "ready")
    worker = own_service.pid_of("worker")
    assert worker is not None
    os.kill(worker, signal.SIGSTOP)  # so the request waits for it
    try:
        request = asyncio.create_task(own_service.client.delete(f"/api/job/{job_id}"))
        await until(lambda: _is_hidden(own_service, job_id))
        await own_service.kill("api", signal.SIGTERM)
        answer = await request
    finally:
        os.kill(worker, signal.SIGCONT)
    assert (answer.status_code, answer.headers.get("Retry-After")) == (503, "5")
    assert answer.json()["detail"] == "The server is stopping; try again in a few seconds."
    await until(lambda: _is_gone(own_service.job_dir(job_id)))


async def _is_hidden(service: Service, job_id: int) -> bool:
    return (await service.client.get(f"/api/job/{job_id}")).status_code == 404


async def _is_gone(path: Path) -> bool:
    return not path.exists()
