"""Steps that are run without Prefect's engine: what its own would do and say, and go on with."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.filesystems import LocalFileSystem
from prefect.flow_engine import run_flow_async

from deployments.recording.reports import TaskReport
from deployments.worker import step_runs
from deployments.worker.notes import RunNotes
from deployments.worker.results import KeptResults
from deployments.worker.step_runs import StepRuns
from flows import pickers
from flows.configuration.config import Config
from flows.database.pool import Pool
from flows.destinations.scheduler import Status, Submission
from flows.disk.places import Place
from flows.errors import DestinationRefused, Unavailable
from flows.jobs.job import Job
from flows.lifecycle.life import live
from flows.lifecycle.runtime import Destination, Runtime, open_runtime
from flows.run_job import run_job
from flows.waiting.cancelling import cancel
from tests.all_jobs import AllJobs
from tests.e2e.service import until
from tests.flows.jobs.owning import worker
from tests.flows.running import new_job

pytestmark = pytest.mark.usefixtures("prefect_server")

OUTCOME = {"returncode": 0, "failure": None, "kind": None}


class Scheduler:
    """Raises what it is given, and ends no command before ``go``."""

    commands_are_here: ClassVar[bool] = True

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.go = asyncio.Event()
        self.submitted = 0

    async def submit(self, submission: Submission) -> str:
        if self.errors:
            raise self.errors.pop(0)
        self.submitted += 1
        return submission.token

    async def watch(self, scheduler_id: str) -> AsyncIterator[Status]:
        yield Status(state="running")
        await self.go.wait()
        yield Status(state="ended", returncode=0)

    async def cancel(self, scheduler_id: str) -> None:
        pass

    async def forget(self, scheduler_id: str) -> None:
        pass

    async def check(self) -> None:
        pass

    async def close(self) -> None:
        pass


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler()


@pytest.fixture
async def runtime(pool: Pool, tmp_path: Path, scheduler: Scheduler) -> AsyncIterator[Runtime]:
    config = Config.model_validate({"applications": {"a": {"command_template": "true"}}})
    place = Place(tmp_path / "data", tmp_path / "jobs")
    async with open_runtime(AllJobs(pool), config, place, pickers.pick_first) as runtime:
        local = runtime.destinations["local"]
        runtime.destinations._destinations["local"] = Destination(scheduler, local.filesystem)
        yield runtime


async def with_flow_run(runtime: Runtime, job: Job, flow_run: UUID) -> Job:
    await AllJobs(runtime.jobs.pool).set_flow_run({job.id: flow_run})
    return await runtime.jobs.get(job.id)


class Lean:
    """A job that is run as a worker does."""

    def __init__(self, runtime: Runtime, job: Job) -> None:
        self.results = KeptResults(runtime.place.results, job.flow_run_id or job.token)
        self.notes = RunNotes(job, lambda _: None)
        self._runtime = runtime
        self._job = job

    async def run(self) -> None:
        is_ending = lambda: self._job.id in self._runtime.cancelled  # noqa: E731
        await live(self._job.id, StepRuns(self.notes, self.results, self.results.read(), is_ending))

    def tasks(self) -> Sequence[TaskReport]:
        return self.notes.report(self._job).tasks

    def states(self) -> dict[str, list[str]]:
        return {task.task: [state.name for state in task.states] for task in self.tasks()}


async def stock_run(runtime: Runtime, job: Job, flow_run: FlowRun) -> None:
    """Run the job by Prefect's own engine."""
    storage = LocalFileSystem(basepath=str(runtime.place.results))
    await storage.asave("results-of-tests", overwrite=True)
    flow = run_job.with_options(result_storage=storage)
    await run_flow_async(flow, flow_run=flow_run, parameters={"job_id": job.id}, return_type="state")


async def interrupted(runtime: Runtime, job: Job, work: Any) -> None:
    """Run the job until its command runs, and end who does that."""
    task = asyncio.ensure_future(work)

    async def runs() -> bool:
        return (await runtime.jobs.get(job.id)).state == "running"

    await until(runs)
    await cancel([task])


async def stock_tasks(flow_run: FlowRun, *steps: str) -> dict[str, Any]:
    """Return what Prefect has of these steps of the run, once it has the last state of each."""
    wanted = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run.id]))

    async def all_are_over() -> dict[str, Any] | None:
        async with get_client() as client:
            found = await client.read_task_runs(flow_run_filter=wanted)
        over = {run.name.rpartition("-")[0]: run for run in found if run.state and run.state.is_final()}
        return over if over.keys() >= set(steps) and len(over) == len(found) else None

    return dict(await until(all_are_over))


async def test_a_run_that_prefects_engine_began_is_continued(runtime: Runtime, scheduler: Scheduler) -> None:
    async with get_client() as client:
        flow_run = await client.create_flow_run(run_job)
    job = await with_flow_run(runtime, await new_job(runtime), flow_run.id)
    await interrupted(runtime, job, stock_run(runtime, job, flow_run))
    lean = Lean(runtime, job)
    before = {path: path.stat().st_mtime_ns for path in runtime.place.results.glob("*/*")}
    scheduler.go.set()
    await lean.run()
    assert (await runtime.jobs.get(job.id)).state == "ok"
    states = lean.states()
    for step in ("upload", "pick_destination", "submit"):
        assert states[step] == ["Pending", "Running", "Cached"]
    assert states["poll"] == states["collect"] == ["Pending", "Running", "Completed"]
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert len(before) == 3
    assert scheduler.submitted == 1
    assert lean.results.read()["poll"] == OUTCOME


async def test_prefects_engine_continues_a_run_of_ours(runtime: Runtime, scheduler: Scheduler) -> None:
    async with get_client() as client:
        flow_run = await client.create_flow_run(run_job)
    job = await with_flow_run(runtime, await new_job(runtime), flow_run.id)
    await interrupted(runtime, job, Lean(runtime, job).run())
    scheduler.go.set()
    await stock_run(runtime, job, flow_run)
    assert (await runtime.jobs.get(job.id)).state == "ok"
    tasks = await stock_tasks(flow_run, "upload", "pick_destination", "submit", "poll", "collect")
    names = {name: run.state.name for name, run in tasks.items()}
    assert names == dict.fromkeys(["upload", "pick_destination", "submit"], "Cached") | dict.fromkeys(
        ["poll", "collect"], "Completed"
    )
    assert scheduler.submitted == 1


async def test_what_prefect_is_told_is_what_its_engine_says(
    runtime: Runtime, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a step that is tried again, and of one that fails."""
    monkeypatch.setattr(step_runs, "RETRY_DELAYS", [0.01])
    async with get_client() as client:
        flow_run = await client.create_flow_run(run_job)
    errors = [Unavailable("The cluster is away."), DestinationRefused("No.")]
    scheduler.errors = list(errors)
    job = await with_flow_run(runtime, await new_job(runtime), flow_run.id)
    await stock_run(runtime, job, flow_run)
    stock = await stock_tasks(flow_run, "upload", "pick_destination", "submit")
    scheduler.errors = list(errors)
    await new_job(runtime)
    [job] = await (await worker(AllJobs(runtime.jobs.pool), "w")).claim()
    lean = Lean(runtime, job)
    await lean.run()
    assert lean.states()["submit"] == ["Pending", "Running", "AwaitingRetry", "Retrying", "Failed"]
    for task in lean.tasks():
        told, last = stock[task.task], task.states[-1]
        assert (told.state.type.value, told.state.name) == (last.type, last.name)
        assert (told.state.message or None) == last.message
        assert told.run_count == sum(state.type == "RUNNING" for state in task.states)
        assert told.task_key == task.key
        policy = told.empirical_policy
        assert (policy.retries, policy.retry_jitter_factor) == (task.policy.retries, task.policy.jitter)
        assert policy.retry_delay == list(task.policy.delays)
    assert set(stock) == {task.task for task in lean.tasks()} == {"upload", "pick_destination", "submit"}


async def test_a_step_that_is_cancelled_has_crashed_unless_the_worker_stops(runtime: Runtime) -> None:
    jobs = [await new_job(runtime), await new_job(runtime)]
    claimed = await (await worker(AllJobs(runtime.jobs.pool), "w")).claim()
    stopped, ended = [Lean(runtime, job) for job in claimed]
    await interrupted(runtime, jobs[0], stopped.run())
    assert stopped.states()["poll"] == ["Pending", "Running"]
    runtime.cancelled.add(jobs[1].id)
    await interrupted(runtime, jobs[1], ended.run())
    assert ended.states()["poll"] == ["Pending", "Running", "Crashed"]
    assert (await runtime.jobs.get(jobs[1].id)).reason_kind == "cancelled"


async def test_a_result_that_was_cut_off_is_none(tmp_path: Path) -> None:
    results = KeptResults(tmp_path, UUID(int=1))
    assert results.read() == {}
    results.write("upload", None)
    results.write("poll", OUTCOME)
    path = tmp_path / results.key("submit")
    path.write_bytes((tmp_path / results.key("poll")).read_bytes()[:200])
    assert results.read() == {"upload": None, "poll": OUTCOME}
    results.remove()
    results.remove()
    assert list(tmp_path.iterdir()) == []
