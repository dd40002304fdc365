"""What operators do in Prefect's UI and by its commands, and what becomes of jobs by it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from prefect.client.orchestration import PrefectClient
from prefect.events.actions import CallWebhook, CancelFlowRun
from prefect.events.schemas.automations import Posture
from prefect.states import AwaitingRetry, Cancelling

from deployments.worker.limits import JobLimits, read_limits
from flows.jobs.not_begun import LIMITED, PAUSED
from tests.e2e.automating import Called, automation, saved_webhook
from tests.e2e.conftest import prefect_client
from tests.e2e.operating import (
    all_workers_know,
    change_deployment,
    change_pool,
    change_queue,
    going_on,
    has_state,
    let_go,
    paused,
    run_of,
    says,
    waiting,
)
from tests.e2e.service import MORE_DESTINATIONS, PICKER, Service
from tests.e2e.test_prefect_commands import prefect_command
from tests.flows.submitting import has_ended

CANCELLED = "The job was cancelled by an operator."


# Two servers, for two processes of a test run.
RECORDERS = [
    pytest.param(route, id=name, marks=pytest.mark.xdist_group(f"operated-{name}"))
    for name, route in {"by-route": "true", "by-api": "false"}.items()
]


@pytest_asyncio.fixture(scope="module", params=RECORDERS)
async def operated(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    """A server with automations and two workers, with each way to tell Prefect of jobs."""
    directory = tmp_path_factory.mktemp("operated")
    (directory / "picker.py").write_text(PICKER)
    service = Service(directory, MORE_DESTINATIONS)
    way = {"BARTENDER_PREFECT_ROUTE": request.param}
    automations = {
        "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "true",
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "1",
    }
    await service.start("--no-worker", **automations, **way)
    workers = [service.worker(name, **way) for name in ("one", "two")]
    yield service
    for worker in workers:
        worker.terminate()
    for worker in workers:
        await asyncio.to_thread(worker.wait, 180)
    await service.stop()


@pytest_asyncio.fixture
async def prefect(operated: Service) -> AsyncIterator[PrefectClient]:
    async with prefect_client(operated) as client:
        # By then there is a pool, and the deployment.
        assert (await operated.ended(await operated.run("true")))["state"] == "ok"
        yield client


def pid_of(service: Service, job_id: int) -> int:
    return int((service.job_dir(job_id) / "pid").read_text())


async def test_a_job_is_cancelled_while_it_waits(operated: Service, prefect: PrefectClient) -> None:
    async with paused(prefect):
        job_id = await waiting(operated, PAUSED)
        run = await run_of(prefect, job_id)
        await prefect.set_flow_run_state(run.id, Cancelling())
    job = await operated.ended(job_id)
    assert (job["state"], job["reason"]) == ("error", CANCELLED)
    await has_state(prefect, run.id, "Cancelled")
    assert not (operated.job_dir(job_id) / "ledger").exists()


async def test_a_job_is_cancelled_while_it_runs(operated: Service, prefect: PrefectClient) -> None:
    job_id, run = await going_on(operated, prefect)
    await prefect.set_flow_run_state(run.id, Cancelling())
    assert (await operated.ended(job_id))["reason"] == CANCELLED
    await has_state(prefect, run.id, "Cancelled")
    assert has_ended(pid_of(operated, job_id))


async def test_a_job_is_cancelled_by_command(
    operated: Service, prefect: PrefectClient, checkout: Path
) -> None:
    job_id, run = await going_on(operated, prefect)
    await prefect_command(operated, checkout, "flow-run", "cancel", str(run.id))
    assert (await operated.ended(job_id))["reason"] == CANCELLED
    await has_state(prefect, run.id, "Cancelled")


async def test_a_job_is_cancelled_as_it_ends(operated: Service, prefect: PrefectClient) -> None:
    """Whichever was first: row and flow run say the same, and nothing stays between."""
    for _ in range(3):
        job_id, run = await going_on(operated, prefect)
        let_go(operated, job_id)
        await prefect.set_flow_run_state(run.id, Cancelling())
        job = await operated.ended(job_id)
        expected = {"ok": "Completed", "error": "Cancelled"}[job["state"]]
        assert job["reason"] in {None, CANCELLED}
        await has_state(prefect, run.id, expected)


async def test_a_paused_work_pool(operated: Service, prefect: PrefectClient) -> None:
    begun, _ = await going_on(operated, prefect)
    async with paused(prefect):
        job_id = await waiting(operated, PAUSED)
        let_go(operated, begun)
        assert (await operated.ended(begun))["state"] == "ok"
        assert (await operated.job(job_id))["state"] == "new"
    job = await operated.ended(job_id)
    assert (job["state"], job["reason"]) == ("ok", None)


async def test_a_paused_work_queue(operated: Service, prefect: PrefectClient) -> None:
    begun, _ = await going_on(operated, prefect)
    await change_queue(prefect, is_paused=True)
    try:
        job_id = await waiting(operated, PAUSED)
        let_go(operated, begun)
        assert (await operated.ended(begun))["state"] == "ok"
        assert (await operated.job(job_id))["state"] == "new"
    finally:
        await change_queue(prefect, is_paused=False)
    assert (await operated.ended(job_id))["state"] == "ok"


async def test_a_limit_counts_the_jobs_of_all_workers(
    operated: Service, prefect: PrefectClient, tmp_path: Path
) -> None:
    begun, _ = await going_on(operated, prefect)
    alone = f"mkdir {tmp_path}/lock || touch {tmp_path}/clash; sleep 0.2; rmdir {tmp_path}/lock"
    await change_pool(prefect, concurrency_limit=1)
    try:
        await all_workers_know(prefect)
        jobs = [await operated.run(alone) for _ in range(4)]
        await operated.reason_of(jobs[-1], LIMITED)
        let_go(operated, begun)
        for job_id in jobs:
            assert (await operated.ended(job_id))["state"] == "ok"
    finally:
        await change_pool(prefect, concurrency_limit=None)
    assert not (tmp_path / "clash").exists()


async def test_the_smallest_of_the_limits_counts(operated: Service, prefect: PrefectClient) -> None:
    assert await read_limits(prefect) == JobLimits(is_paused=False, at_most=None)
    limits = {change_pool: 900, change_queue: 800, change_deployment: 700}
    try:
        for change, limit in limits.items():
            await change(prefect, concurrency_limit=limit)
            assert await read_limits(prefect) == JobLimits(is_paused=False, at_most=limit)
        await change_deployment(prefect, concurrency_options={"collision_strategy": "CANCEL_NEW"})
        job_id = await operated.run("true")
        assert (await operated.ended(job_id))["state"] == "ok"
    finally:
        for change in limits:
            await change(prefect, concurrency_limit=None)


async def test_retry(operated: Service, prefect: PrefectClient) -> None:
    """Of a job whose command never was started, and of one whose command was."""
    may = await operated.submit({"script.sh": "echo ran >>ledger", "unpickable": ""})
    may_not = await operated.run("echo ran >>ledger; exit 3")
    runs = []
    for job_id in (may, may_not):
        assert (await operated.ended(job_id))["state"] == "error"
        runs.append(await run_of(prefect, job_id))
        await has_state(prefect, runs[-1].id, "Failed")
    (operated.data_dir / "mended").touch()
    for run in runs:
        await prefect.set_flow_run_state(run.id, AwaitingRetry())
    assert (await operated.state_is(may, "ok"))["reason"] is None
    await has_state(prefect, runs[0].id, "Completed")
    await says(
        prefect, runs[1].id, "not run again: its command may have been started, and is started once only."
    )
    for job_id in (may, may_not):
        assert (operated.job_dir(job_id) / "ledger").read_text() == "ran\n"


async def test_the_flow_run_of_a_job_is_deleted_while_it_runs(
    operated: Service, prefect: PrefectClient
) -> None:
    job_id, run = await going_on(operated, prefect)
    await prefect.delete_flow_run(run.id)
    let_go(operated, job_id)
    assert (await operated.ended(job_id))["state"] == "ok"
    assert (operated.job_dir(job_id) / "ledger").read_text() == "ran\n"


@pytest.mark.parametrize("what", ["deployment", "flow"])
async def test_what_runs_jobs_is_deleted(operated: Service, prefect: PrefectClient, what: str) -> None:
    job_id, run = await going_on(operated, prefect)
    deployment = await prefect.read_deployment_by_name("run-job/bartender")
    if what == "deployment":
        await prefect.delete_deployment(deployment.id)
    else:
        await prefect.delete_flow(deployment.flow_id)
    after, run_after = await going_on(operated, prefect)
    assert (await prefect.read_deployment_by_name("run-job/bartender")).id == run_after.deployment_id
    for one in (job_id, after):
        let_go(operated, one)
        assert (await operated.ended(one))["state"] == "ok"
        assert (operated.job_dir(one) / "ledger").read_text() == "ran\n"
    await has_state(prefect, run_after.id, "Completed")
    if what == "deployment":  # else its flow runs went with it
        await has_state(prefect, run.id, "Completed")
    # Operators can still have a job run again.
    job_id = await operated.run("exit 3")
    await operated.ended(job_id)
    run = await run_of(prefect, job_id)
    await has_state(prefect, run.id, "Failed")
    await prefect.set_flow_run_state(run.id, AwaitingRetry(), force=True)
    await says(prefect, run.id, "is started once only.")


@pytest.mark.parametrize(("end", "script"), [("Failed", "exit 3"), ("Completed", "true")])
async def test_an_automation_calls_a_webhook(
    operated: Service, prefect: PrefectClient, end: str, script: str
) -> None:
    called = Called()
    async with called.listening():
        webhook = await saved_webhook(prefect, f"on-{end.lower()}", called)
        action = CallWebhook(
            block_document_id=webhook, payload="{{ flow_run.name }} {{ flow_run.state.name }}"
        )
        async with automation(prefect, f"tell-{end}", action, expect={f"prefect.flow-run.{end}"}):
            job_id = await operated.run(script)
            assert f"script-{job_id} {end}" in await called.hears(f"script-{job_id}")


async def test_an_automation_cancels_what_takes_too_long(operated: Service, prefect: PrefectClient) -> None:
    ends = {f"prefect.flow-run.{name}" for name in ("Completed", "Failed", "Crashed", "Cancelled")}
    trigger = {"posture": Posture.Proactive, "after": {"prefect.flow-run.Running"}, "expect": ends}
    async with automation(
        prefect, "end-what-is-long", CancelFlowRun(), within=timedelta(seconds=10), **trigger
    ):
        job_id, run = await going_on(operated, prefect)
        assert (await operated.ended(job_id))["reason"] == CANCELLED
        await has_state(prefect, run.id, "Cancelled")
