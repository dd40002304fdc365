"""Jobs, flow runs and commands that contradict each other, and operators who run a job again."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.states import AwaitingRetry, Cancelled, Cancelling, Crashed, Failed, Pending, Running, Scheduled

from flows.jobs.not_begun import LIMITED
from tests.e2e.conftest import database, prefect_client
from tests.e2e.operating import going_on, has_state, run_of
from tests.e2e.service import Service, until, written
from tests.e2e.upkeep_runs import ended, finished, message, start, unscheduled
from tests.flows.submitting import has_ended


@pytest_asyncio.fixture(scope="module", autouse=True)
async def only_when_told_to(service: Service) -> AsyncIterator[None]:
    async with prefect_client(service) as prefect, unscheduled(prefect, "reconcile"):
        yield


async def reconcile(prefect: PrefectClient) -> str:
    run = await start(prefect, "reconcile")
    return message(await ended(prefect, run.id))


async def pid_of(service: Service, job_id: int) -> int:
    file = service.job_dir(job_id) / "pid"

    await written(file)
    return int(file.read_text())


async def test_nothing_is_wrong(service: Service, prefect: PrefectClient) -> None:
    job_id, run = await going_on(service, prefect)
    assert await reconcile(prefect) == "Completed: Everything is as it should be."
    assert (await prefect.read_flow_run(run.id)).state_name == "Running"
    (service.job_dir(job_id) / "go").touch()
    assert (await service.ended(job_id))["state"] == "ok"


async def test_set_to_cancelled_behind_the_workers_back(service: Service, prefect: PrefectClient) -> None:
    job_id, run = await going_on(service, prefect)
    pid = await pid_of(service, job_id)
    await prefect.set_flow_run_state(run.id, Cancelled(), force=True)
    assert "job whose flow run was set to Cancelled: is being cancelled 1" in await reconcile(prefect)
    job = await service.ended(job_id)
    assert job["reason"] == "The job was cancelled by an operator."
    assert has_ended(pid)
    await has_state(prefect, run.id, "Cancelled")


@pytest.mark.parametrize("state", [Crashed(), Failed()], ids=["crashed", "failed"])
async def test_ended_in_prefect_while_the_job_goes_on(
    service: Service, prefect: PrefectClient, state: Any
) -> None:
    job_id, run = await going_on(service, prefect)
    await prefect.set_flow_run_state(run.id, state, force=True)
    assert f"job whose flow run was {state.name}: goes on 1" in await reconcile(prefect)
    assert (await prefect.read_flow_run(run.id)).state_name == "Running"
    (service.job_dir(job_id) / "go").touch()
    assert (await service.ended(job_id))["state"] == "ok"
    await has_state(prefect, run.id, "Completed")
    assert (service.job_dir(job_id) / "ledger").read_text() == "ran\n"


@pytest.mark.parametrize(
    "state", [Running(), Pending(), Cancelling()], ids=["running", "pending", "cancelling"]
)
async def test_of_an_ended_job(service: Service, prefect: PrefectClient, state: Any) -> None:
    job_id = await service.run("exit 3")
    run = await finished(prefect, f"script-{job_id}")
    await prefect.set_flow_run_state(run.id, state, force=True)
    assert f"flow run of the ended job {job_id}: is Failed now 1" in await reconcile(prefect)
    run = await prefect.read_flow_run(run.id)
    assert (
        message(run)
        == "Failed: The command ended with exit code 3, and stdout.txt and stderr.txt say nothing."
    )


@pytest.mark.parametrize("state", [Running(), Pending()], ids=["running", "pending"])
async def test_a_flow_run_without_a_job(service: Service, prefect: PrefectClient, state: Any) -> None:
    deployment = await prefect.read_deployment_by_name("run-job/bartender")
    later: Any = Scheduled(scheduled_time=datetime.now(UTC) + timedelta(hours=1))
    run = await prefect.create_flow_run_from_deployment(
        deployment.id, parameters={"job_id": 987654321}, state=later
    )
    await reconcile(prefect)
    assert (await prefect.read_flow_run(run.id)).state_name == "Scheduled"  # an operator's, for later
    await prefect.set_flow_run_state(run.id, state, force=True)
    await reconcile(prefect)
    assert message(await prefect.read_flow_run(run.id)) == "Failed: There is no job of this flow run."


async def test_a_row_that_was_removed_by_hand(service: Service, prefect: PrefectClient) -> None:
    job_id, run = await going_on(service, prefect)
    pid = await pid_of(service, job_id)
    async with database(service) as connection:
        await connection.execute("DELETE FROM job WHERE id = $1", job_id)
    assert "command without a job under way: ended and forgotten 1" in await reconcile(prefect)
    assert has_ended(pid)
    assert not list((service.data_dir / "commands").glob("*/local/*"))

    async def is_over() -> bool:
        await reconcile(prefect)
        state = (await prefect.read_flow_run(run.id)).state
        return state is not None and state.is_final()

    await until(is_over)
    assert f"Job {job_id} is not there any more; nothing is run for it" in service.log()


async def test_a_deleted_flow_run_of_a_job_that_waits(service: Service, prefect: PrefectClient) -> None:
    first, _ = await going_on(service, prefect)

    async def limit(number: int | None) -> None:
        path = {"name": "bartender"}
        await prefect.request(
            "PATCH", "/work_pools/{name}", path_params=path, json={"concurrency_limit": number}
        )

    async def waits() -> int | None:
        # The worker learns of the limit with its next heartbeat.
        job_id = await service.run("echo ran >>ledger")

        async def has_begun_or_says_so() -> dict[str, Any] | None:
            job = await service.job(job_id)
            return job if job["state"] != "new" or job["reason"] == LIMITED else None

        return job_id if (await until(has_begun_or_says_so))["state"] == "new" else None

    await limit(1)
    try:
        job_id: int = await until(waits)
        run = await run_of(prefect, job_id)
        await prefect.delete_flow_run(run.id)
        assert "job whose flow run was deleted: gets a new one 1" in await reconcile(prefect)
        again = await run_of(prefect, job_id)
        assert run.created is not None
        assert again.created is not None
        assert again.created > run.created
    finally:
        await limit(None)
    assert (await service.ended(job_id))["state"] == "ok"
    assert (service.job_dir(job_id) / "ledger").read_text() == "ran\n"
    (service.job_dir(first) / "go").touch()
    await service.ended(first)


async def test_retry_of_a_job_whose_command_never_started(service: Service, prefect: PrefectClient) -> None:
    before = set((service.data_dir / "uploads").iterdir())
    job_id = await service.submit({"script.sh": "echo ran >>ledger", "unpickable": ""})
    job = await service.ended(job_id)
    assert job["reason"] == "No destination could be picked (not mended); tell the operator."
    run = await finished(prefect, f"script-{job_id}")
    (service.data_dir / "mended").touch()
    await prefect.set_flow_run_state(run.id, AwaitingRetry())
    assert (await service.state_is(job_id, "ok"))["reason"] is None
    await has_state(prefect, run.id, "Completed")
    assert (service.job_dir(job_id) / "ledger").read_text() == "ran\n"
    assert not list(service.job_dir(job_id).parent.glob(".*"))
    assert set((service.data_dir / "uploads").iterdir()) <= before
    assert f"Job {job_id} is run again for an operator" in service.log()


async def test_retry_of_a_job_whose_command_ran(service: Service, prefect: PrefectClient) -> None:
    jobs = {
        "its command may have been started, and is started once only": await service.run(
            "echo ran >>ledger; exit 3"
        ),
        "it has its outputs": await service.run("echo ran >>ledger"),
    }
    for why, job_id in jobs.items():
        before = await service.ended(job_id)
        run = await finished(prefect, f"script-{job_id}")
        await prefect.set_flow_run_state(run.id, AwaitingRetry(), force=True)
        expected = f"The job is not run again: {why}."

        async def told(run: FlowRun = run, expected: str = expected) -> bool:
            return message(await prefect.read_flow_run(run.id)).endswith(expected)

        await until(told)
        assert await service.job(job_id) == before
        assert (service.job_dir(job_id) / "ledger").read_text() == "ran\n"
