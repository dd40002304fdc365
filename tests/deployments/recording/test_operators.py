"""What operators see of runs that were told of, and do to them, in Prefect's UI and by its commands."""

import asyncio
import os
import subprocess
import sys
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deployments.recording.reports import Verdict
from tests.deployments.recording.server import Json, Server
from tests.deployments.recording.telling import Job


@pytest.fixture
async def jobs(server: Server) -> dict[str, Job]:
    """Jobs of one application of their own, by what they are in Prefect."""
    application = f"application:{uuid.uuid4()}"
    jobs = {name: Job() for name in ("waits", "runs", "Completed", "Failed", "Cancelled")}
    reports = [
        jobs["waits"].waits(),
        jobs["runs"].runs_in("upload", "pick_destination", "submit", "poll"),
        jobs["Completed"].ends(),
        jobs["Failed"].ends("FAILED"),
        jobs["Cancelled"].ends("CANCELLED"),
    ]
    tagged = [replace(report, tags=(*report.tags, application)) for report in reports]
    answers = await server.recorder().record(tagged)
    assert {answer.verdict for answer in answers} == {Verdict.WRITTEN}
    return jobs


def of(jobs: dict[str, Job], **more: Any) -> Json:
    """Return a filter, as the UI makes it, that all of them pass but for ``more``."""
    return {"flow_runs": {"id": {"any_": [str(job.id) for job in jobs.values()]}, **more}}


async def found(server: Server, jobs: dict[str, Job], **more: Any) -> set[str]:
    names = {str(job.id): name for name, job in jobs.items()}
    return {names[run["id"]] for run in await server.post("/flow_runs/filter", of(jobs, **more))}


async def test_the_filters_of_the_pages_of_runs(server: Server, jobs: dict[str, Job]) -> None:
    deployment = await server.client.read_deployment_by_name("run-job/bartender")
    report = jobs["Failed"].waits()
    hour, now = timedelta(hours=1), datetime.now(UTC)
    everything = set(jobs)
    assert await found(server, jobs) == everything
    for wanted, names in (
        ({"state": {"type": {"any_": ["FAILED", "CANCELLED"]}}}, {"Failed", "Cancelled"}),
        ({"state": {"name": {"any_": ["Scheduled", "Running"]}}}, {"waits", "runs"}),
        ({"name": {"like_": "wc-"}}, everything),
        ({"tags": {"all_": [report.tags[1]]}}, {"Failed"}),
        ({"deployment_id": {"any_": [str(deployment.id)]}}, everything),
        ({"work_queue_name": {"any_": ["default"]}}, set()),  # nor has a stock run of this deployment one
        ({"idempotency_key": {"any_": [report.idempotency_key]}}, {"Failed"}),
        ({"start_time": {"after_": str(now - hour)}}, everything),  # or when it was to begin
        ({"end_time": {"after_": str(now - hour)}}, {"Completed", "Failed", "Cancelled"}),
        ({"expected_start_time": {"before_": str(now - hour)}}, set()),
        ({"next_scheduled_start_time": {"before_": str(now)}}, {"waits"}),
        ({"parent_task_run_id": {"is_null_": True}}, everything),
    ):
        assert await found(server, jobs, **wanted) == names, wanted
    for around, name in (("flows", "run-job"), ("work_pools", "bartender"), ("deployments", "bartender")):
        query = of(jobs) | {around: {"name": {"any_": [name]}}}
        assert len(await server.post("/flow_runs/filter", query)) == len(jobs)
        assert await server.post("/flow_runs/count", query) == len(jobs)
    for sort in ("START_TIME_DESC", "EXPECTED_START_TIME_DESC", "END_TIME_DESC", "NAME_ASC"):
        page = await server.post("/flow_runs/paginate", of(jobs) | {"sort": sort, "page": 1, "limit": 3})
        assert (page["count"], len(page["results"])) == (5, 3)


async def test_dashboards(server: Server, jobs: dict[str, Job]) -> None:
    begin, end = datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(hours=1)
    period = {"history_start": str(begin), "history_end": str(end), "history_interval_seconds": 7200}
    bars = await server.post("/flow_runs/history", of(jobs) | period)
    counted = {state["state_name"]: state["count_runs"] for bar in bars for state in bar["states"]}
    assert counted == dict.fromkeys(("Scheduled", "Running", "Completed", "Failed", "Cancelled"), 1)
    bars = await server.post("/task_runs/history", of(jobs) | period)
    assert {state["state_type"]: state["count_runs"] for bar in bars for state in bar["states"]} == {
        "COMPLETED": 15,
        "RUNNING": 1,
    }
    scatter = await server.post("/ui/flow_runs/history", of(jobs) | {"limit": 10})
    assert len(scatter) == len(jobs)
    counts = await server.post(
        "/ui/flow_runs/count-task-runs", {"flow_run_ids": [str(job.id) for job in jobs.values()]}
    )
    assert sorted(counts.values()) == [0, 4, 4, 4, 4]
    assert await server.post("/task_runs/count", of(jobs)) == 16
    of_period = {"task_runs": {"start_time": {"after_": str(begin), "before_": str(end)}}}
    dashboard = await server.post("/ui/task_runs/dashboard/counts", of(jobs) | of_period)
    assert sum(bar["completed"] for bar in dashboard) == 15
    assert await server.post("/flow_runs/lateness", of(jobs)) > 0  # of what waits


async def prefect(server: Server, *arguments: str) -> str:
    """Return the output of a command of Prefect's."""
    done = await asyncio.to_thread(
        subprocess.run,
        [str(Path(sys.executable).parent / "prefect"), "--no-prompt", *arguments],
        env={**os.environ, **server.embedded.client_environment(), "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def test_prefects_commands(server: Server, jobs: dict[str, Job]) -> None:
    listed = await prefect(server, "flow-run", "ls", "--limit", "200")
    assert all(str(job.id) in listed for job in jobs.values())
    inspected = await prefect(server, "flow-run", "inspect", str(jobs["Failed"].id))
    assert "It ended." in inspected
    await prefect(server, "flow-run", "cancel", str(jobs["runs"].id))
    assert (await server.run(jobs["runs"].id))["state"]["name"] == "Cancelling"
    await prefect(server, "flow-run", "cancel", str(jobs["waits"].id))
    assert (await server.run(jobs["waits"].id))["state"]["name"] == "Cancelled"
    await prefect(server, "flow-run", "delete", str(jobs["Completed"].id))
    async with server.sql() as connection:
        left = "SELECT count(*) FROM task_run WHERE flow_run_id = $1"
        assert await connection.fetchval(left, jobs["Completed"].id) == 0


async def test_retry_in_the_ui(server: Server, jobs: dict[str, Job]) -> None:
    job = jobs["Failed"]
    retry = {"state": {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Retry from the UI"}}
    answer = await server.post(f"/flow_runs/{job.id}/set_state", retry)
    assert answer["status"] == "ACCEPT"
    due = await server.post("/work_pools/bartender/get_scheduled_flow_runs", {})
    assert str(job.id) in {one["flow_run"]["id"] for one in due}


async def test_what_waits_is_what_workers_are_given(server: Server, jobs: dict[str, Job]) -> None:
    due = await server.post("/work_pools/bartender/get_scheduled_flow_runs", {"limit": 200})
    given = {one["flow_run"]["id"] for one in due}
    assert str(jobs["waits"].id) in given
    assert not {str(job.id) for name, job in jobs.items() if name != "waits"} & given
