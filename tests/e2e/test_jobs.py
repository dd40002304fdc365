"""The main way of a job, as visitors and operators see it."""

import asyncio
import io
import zipfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    TaskRunFilter,
    TaskRunFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun, TaskRun
from prefect.states import Cancelling, Scheduled

from deployments.worker.prefect_side import HEARTBEAT_INTERVAL
from deployments.worker.worker import SWEEP_INTERVAL
from flows.jobs.not_begun import PAUSED
from tests.e2e.conftest import StartWorker, prefect_client, runs_of
from tests.e2e.service import Service, until
from tests.e2e.upkeep_runs import finished, flow_runs_of
from tests.flows.submitting import has_ended


async def test_word_count(service: Service, prefect: PrefectClient) -> None:
    job_id = await service.submit({"README.md": "one two\nthree\n"}, "wc")
    assert (await service.job(job_id))["state"] in {"new", "queued", "running", "staging_out", "ok"}
    job = await service.ended(job_id)
    assert job["state"] == "ok"
    stdout = await service.client.get(f"/api/job/{job_id}/stdout")
    assert stdout.text.split() == ["2", "3", "14", "README.md"]
    assert {path.name for path in service.job_dir(job_id).iterdir()} == {
        "README.md",
        "stdout.txt",
        "stderr.txt",
        "returncode",
    }
    run = await finished(prefect, f"wc-{job_id}")
    assert run.state is not None
    assert run.state.is_completed()
    assert set(run.tags) == {"application:wc", "submitter:visitor", "destination:local"}
    assert run.parameters == {"job_id": job_id}
    assert run.run_count == 1


async def test_a_connection_that_was_idle(service: Service) -> None:
    """For longer than clients keep theirs, most of them 5 s: else a request may meet its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(service.url.rpartition(":")[2]))
    for idle in (0, 7):
        await asyncio.sleep(idle)
        writer.write(b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        [length] = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        await reader.readexactly(int(length.partition(b":")[2]))
    writer.close()
    await writer.wait_closed()


async def test_the_picker_decides(service: Service, prefect: PrefectClient) -> None:
    job_id = await service.submit({"script.sh": "cat quick", "quick": "hello"})
    job = await service.ended(job_id)
    assert (job["state"], job["destination"]) == ("ok", "quick")
    assert "destination:quick" in (await finished(prefect, f"script-{job_id}")).tags


async def test_each_step_is_seen_in_prefect(service: Service, prefect: PrefectClient) -> None:
    job_id = await service.submit({"README.md": "x"}, "wc")
    run = await finished(prefect, f"wc-{job_id}")

    async def all_completed() -> list[TaskRun]:
        of_run = TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[run.id]))
        tasks = await prefect.read_task_runs(task_run_filter=of_run)
        return tasks if len(tasks) == 5 and all(task.state_name == "Completed" for task in tasks) else []

    tasks: list[TaskRun] = await until(all_completed)
    tasks.sort(key=lambda task: task.start_time or task.created)  # type: ignore[arg-type,return-value]
    steps = ["upload", "pick_destination", "submit", "poll", "collect"]
    assert [task.name.rpartition("-")[0] for task in tasks] == steps


async def test_a_long_step_is_seen_while_it_lasts(service: Service, prefect: PrefectClient) -> None:
    job_id = await service.run("while [ ! -e go ]; do sleep 0.05; done")
    await service.state_is(job_id, "running")
    [run] = await until(lambda: flow_runs_of(prefect, f"script-{job_id}"))

    async def polls() -> bool:
        of_run = TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[run.id]))
        tasks = await prefect.read_task_runs(task_run_filter=of_run)
        return any(task.name.startswith("poll") and task.state_name == "Running" for task in tasks)

    await until(polls)
    (service.job_dir(job_id) / "go").touch()
    assert (await service.ended(job_id))["state"] == "ok"


async def test_a_failing_command(service: Service, prefect: PrefectClient) -> None:
    job_id = await service.run("echo sorry >&2; exit 3")
    job = await service.ended(job_id)
    assert job["state"] == "error"
    assert (await service.client.get(f"/api/job/{job_id}/stderr")).text == "sorry\n"
    run = await finished(prefect, f"script-{job_id}")
    assert run.state is not None
    assert run.state.is_failed()
    assert run.state.message == "The command ended with exit code 3; see stderr.txt, which ends with: sorry"


async def test_a_damaged_archive_ends_with_a_reason(service: Service, prefect: PrefectClient) -> None:
    # A wrong checksum is found when it is unpacked, after the answer.
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("script.sh", "true")
    job_id = await service.submit_archive(content.getvalue().replace(b"true", b"TRUE"))
    assert (await service.ended(job_id))["state"] == "error"
    run = await finished(prefect, f"script-{job_id}")
    assert run.state is not None
    assert run.state.message == (
        "The zip archive is damaged ('script.sh' is not what was put in); make it again."
    )


async def test_cancelling_in_prefect_ends_the_job(service: Service, prefect: PrefectClient) -> None:
    job_id = await service.run("echo $$ >pid; sleep 1000")
    pid_file = service.job_dir(job_id) / "pid"
    pid = int(await until(lambda: _text(pid_file)))
    [run] = await until(lambda: flow_runs_of(prefect, f"script-{job_id}"))
    await prefect.set_flow_run_state(run.id, Cancelling())
    assert (await service.ended(job_id))["state"] == "error"
    run = await finished(prefect, f"script-{job_id}")
    assert run.state is not None
    assert run.state.is_cancelled()
    assert has_ended(pid)  # perhaps its parent, a slow init, has not noticed yet


async def _text(path: Path) -> str:
    return await asyncio.to_thread(path.read_text) if path.exists() else ""


async def _beats_after(prefect: PrefectClient, moment: datetime) -> bool:
    workers = await prefect.read_workers_for_work_pool("bartender")
    return any(w.last_heartbeat_time is not None and w.last_heartbeat_time > moment for w in workers)


async def test_a_paused_work_pool_starts_no_jobs(service: Service, prefect: PrefectClient) -> None:
    async def pause(paused: bool) -> None:
        await prefect.request(
            "PATCH", "/work_pools/{name}", path_params={"name": "bartender"}, json={"is_paused": paused}
        )

    async def waits() -> int | None:
        # The worker learns of the pause with its next heartbeat.
        job_id = await service.run("true")
        [run] = await until(lambda: flow_runs_of(prefect, f"script-{job_id}"))
        assert run.created is not None
        # By a heartbeat of then, the worker has looked for jobs since there was a flow run.
        looked = run.created + timedelta(seconds=SWEEP_INTERVAL + HEARTBEAT_INTERVAL)
        await until(lambda: _beats_after(prefect, looked))
        job = await service.job(job_id)
        return job_id if (job["state"], job["reason"]) == ("new", PAUSED) else None

    assert (await service.ended(await service.run("true")))["state"] == "ok"  # so there is a pool
    await pause(True)
    try:
        job_id: int = await until(waits)
    finally:
        await pause(False)
    ended = await service.ended(job_id)
    assert (ended["state"], ended["reason"]) == ("ok", None)


async def test_the_worker_is_online_in_its_pool(service: Service, prefect: PrefectClient) -> None:
    [worker] = await prefect.read_workers_for_work_pool("bartender")
    assert worker.status is not None
    assert worker.status.value == "ONLINE"
    assert worker.name.startswith("worker-")
    pool = await prefect.read_work_pool("bartender")
    assert pool.status is not None
    assert pool.status.value == "READY"


async def test_an_operator_starts_a_job_that_waits(service: Service, prefect: PrefectClient) -> None:
    deployment = await prefect.read_deployment_by_name("run-job/bartender")
    job_id = await service.run("echo ran >>ledger")
    runs = [
        await prefect.create_flow_run_from_deployment(deployment.id, parameters={"job_id": job_id}, name=name)
        for name in (f"first-for-{job_id}", f"second-for-{job_id}")
    ]
    assert (await service.ended(job_id))["state"] == "ok"
    ends = [await finished(prefect, run.name) for run in runs]
    assert (service.job_dir(job_id) / "ledger").read_text() == "ran\n"
    refused = [run for run in ends if run.state is not None and run.state.is_failed()]
    assert len(refused) >= 1  # at most one of them can have been first
    assert refused[0].state is not None
    assert "has another flow run" in str(refused[0].state.message)


async def test_an_operators_run_of_nothing_fails(service: Service, prefect: PrefectClient) -> None:
    deployment = await prefect.read_deployment_by_name("run-job/bartender")
    parameters: dict[str, Any] = {"job_id": 123456789}
    run = await prefect.create_flow_run_from_deployment(
        deployment.id, parameters=parameters, name="for-nothing", state=Scheduled()
    )
    ended = await finished(prefect, run.name)
    assert ended.state is not None
    assert ended.state.is_failed()


async def test_a_deleted_flow_run_is_no_lost_job(workerless: Service, workers: StartWorker) -> None:
    first = workers()
    job_id = await workerless.run("echo ran >>ledger; while [ ! -e go ]; do sleep 0.05; done")
    async with prefect_client(workerless) as prefect:

        async def is_begun() -> FlowRun | None:
            run = (await runs_of(workerless, prefect, [job_id]))[job_id]
            return run if "destination:local" in run.tags else None

        run = await until(is_begun)
        first.kill()
        first.wait()
        await prefect.delete_flow_run(run.id)
        workers()
        (workerless.job_dir(job_id) / "go").touch()
        assert (await workerless.ended(job_id))["state"] == "ok"
        assert not await flow_runs_of(prefect, f"script-{job_id}")
    assert (workerless.job_dir(job_id) / "ledger").read_text() == "ran\n"
