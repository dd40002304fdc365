"""Jobs cancelled and deleted by their submitters on a whole server, in every state."""

import asyncio
from pathlib import Path

import httpx
import pytest
from prefect.client.orchestration import PrefectClient

from tests.e2e.conftest import StartWorker, job_runs
from tests.e2e.service import Service, until, written
from tests.flows.submitting import has_ended

# A child that ignores SIGTERM, and one that leaves the session.
STUBBORN = "trap '' TERM; sleep 1000 & echo $! >child; setsid sh -c 'echo $$ >gone; sleep 1000' & wait"


async def children(service: Service, job_id: int) -> list[int]:
    """Wait until the job's command has started all and return their processes."""
    files = [service.job_dir(job_id) / name for name in ("child", "gone")]
    await written(*files)
    return [int(file.read_text()) for file in files]


async def end(service: Service, how: str, job_id: int) -> httpx.Response:
    path = f"/api/job/{job_id}"
    if how == "delete":
        return await service.client.delete(path)
    return await service.client.post(f"{path}/cancel")


async def assert_ended(service: Service, how: str, job_id: int) -> None:
    if how == "cancel":
        job = await service.job(job_id)
        assert (job["state"], job["reason"]) == ("error", "You cancelled the job.")
        return
    assert (await service.client.get(f"/api/job/{job_id}")).status_code == 404
    assert not service.job_dir(job_id).exists()


@pytest.mark.parametrize("how", ["cancel", "delete"])
async def test_a_running_job(service: Service, how: str) -> None:
    job_id, other = await service.run(STUBBORN), await service.run("while [ ! -e go ]; do sleep 0.05; done")
    processes = await children(service, job_id)
    await service.state_is(other, "running")
    response = await end(service, how, job_id)
    assert response.status_code == (200 if how == "cancel" else 204)
    assert all(has_ended(pid) for pid in processes)
    await assert_ended(service, how, job_id)
    (service.job_dir(other) / "go").touch()
    assert (await service.ended(other))["state"] == "ok"


@pytest.mark.parametrize("how", ["cancel", "delete"])
async def test_a_command_has_time_to_clean_up(service: Service, tmp_path: Path, how: str) -> None:
    trap = f"trap 'sleep 1; echo cleaned >{tmp_path}/cleaned; exit' TERM"
    job_id = await service.run(f'sh -c "{trap}; echo >ready; while :; do sleep 0.05; done"; echo goes on')
    await written(service.job_dir(job_id) / "ready")
    await end(service, how, job_id)

    async def cleaned() -> bool:
        return (tmp_path / "cleaned").exists()

    await until(cleaned)
    if how == "cancel":
        await service.ended(job_id)
        assert not (service.job_dir(job_id) / "stdout.txt").read_text()
    await until(lambda: _is_over(service, how, job_id))


async def _is_over(service: Service, how: str, job_id: int) -> bool:
    if how == "delete":
        return not service.job_dir(job_id).exists()
    return bool((await service.job(job_id))["reason"] == "You cancelled the job.")


@pytest.mark.parametrize("how", ["cancel", "delete"])
async def test_right_after_it_was_submitted(service: Service, prefect: PrefectClient, how: str) -> None:
    """At every moment of the way to its start, which differs from one to the next."""
    before = set((service.data_dir / "uploads").iterdir())
    jobs = []
    for number in range(15):
        jobs.append(await service.run("echo $$ >pid; sleep 1000"))
        await asyncio.sleep(number * 0.02)
        assert (await end(service, how, jobs[-1])).status_code == (200 if how == "cancel" else 204)
        await assert_ended(service, how, jobs[-1])
    for directory in service.job_dir(0).parent.glob("*/pid"):
        if int(directory.parent.name) in jobs:
            assert has_ended(int(directory.read_text()))

    async def settled() -> bool:
        runs = [run for run in await job_runs(prefect) if run.parameters.get("job_id") in jobs]
        return all(run.state is not None and run.state.is_final() for run in runs)

    await until(settled)
    assert set((service.data_dir / "uploads").iterdir()) <= before


async def test_two_at_once(service: Service) -> None:
    job_id = await service.run(STUBBORN)
    processes = await children(service, job_id)
    answers = await asyncio.gather(*(end(service, how, job_id) for how in ("cancel", "delete", "delete")))
    assert {answer.status_code for answer in answers} <= {200, 204, 404}
    assert all(has_ended(pid) for pid in processes)
    await assert_ended(service, "delete", job_id)


async def test_a_job_that_waits_for_a_slot(service: Service) -> None:
    async def run(script: str) -> int:
        return await service.submit({"script.sh": script, "single": ""})

    running = await run("while [ ! -e go ]; do sleep 0.05; done")
    await service.state_is(running, "running")
    cancelled, deleted, last = [await run(f"echo ran >>../{running}/ledger") for _ in range(3)]
    for job_id in (cancelled, deleted, last):
        await service.state_is(job_id, "queued")
    assert (await end(service, "cancel", cancelled)).status_code == 200
    assert (await end(service, "delete", deleted)).status_code == 204
    (service.job_dir(running) / "go").touch()
    assert (await service.ended(last))["state"] == "ok"
    assert (service.job_dir(running) / "ledger").read_text() == "ran\n"
    await assert_ended(service, "cancel", cancelled)
    await assert_ended(service, "delete", deleted)


async def test_while_the_worker_is_away(workerless: Service, workers: StartWorker) -> None:
    """What was begun ends when the worker is back; what was not begun ends at once."""
    service = workerless
    worker = workers()
    begun = [await service.run(STUBBORN) for _ in range(2)]
    processes = [pid for job_id in begun for pid in await children(service, job_id)]
    worker.kill()
    worker.wait()
    waiting = [await service.run("sleep 1000") for _ in range(2)]
    assert (await end(service, "cancel", waiting[0])).status_code == 200
    assert (await end(service, "delete", waiting[1])).status_code == 204
    assert (await end(service, "cancel", begun[0])).status_code == 202
    assert (await end(service, "delete", begun[1])).status_code == 204
    assert (await service.client.get(f"/api/job/{begun[1]}")).status_code == 404
    workers()
    assert (await service.ended(begun[0]))["reason"] == "You cancelled the job."

    async def gone() -> bool:
        return not service.job_dir(begun[1]).exists()

    await until(gone)
    assert all(has_ended(pid) for pid in processes)
    await assert_ended(service, "cancel", waiting[0])
