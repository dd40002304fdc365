"""Flow runs of jobs, where whole servers do not show what matters: those are in tests/e2e."""

import uuid
from pathlib import Path
from typing import Any, cast

from deployments.recording.reports import Answer, Verdict
from deployments.worker.job_runs import JobRuns
from flows import pickers
from flows.configuration.config import Config
from flows.database.pool import Pool
from flows.disk.places import Place
from flows.jobs.job import State
from flows.lifecycle.runtime import Runtime, open_runtime
from tests.all_jobs import AllJobs
from tests.deployments.recorders import Recorder
from tests.e2e.service import until
from tests.flows.jobs.owning import owner, worker
from tests.flows.running import new_job


async def test_nothing_begins_once_all_were_let_go(pool: Pool) -> None:
    """Sweeps may still bring jobs while the worker stops."""
    store = AllJobs(pool)
    job = await store.create(application="a", submitter="me", roles=[], command="true", token=uuid.uuid4())
    await store.set_flow_run({job.id: uuid.uuid4()})
    nothing = cast(Any, None)
    runs = JobRuns(Runtime(store, nothing, nothing, nothing, nothing, nothing, nothing), Recorder())
    await runs.stop()
    runs.resume(await store.get(job.id))
    assert not len(runs)


async def test_a_job_at_a_destination_ends_where_it_is_without_its_deleted_flow_run(
    pool: Pool, tmp_path: Path
) -> None:
    """Any worker begins what waits, on whatever host; its command may run here."""
    mine = await worker(AllJobs(pool), "w")
    config = Config.model_validate({"applications": {"a": {"command_template": "true"}}})
    place = Place(tmp_path / "data", tmp_path / "jobs")
    recorder = Recorder()
    recorder.rule = lambda _: Answer(Verdict.DELETED)
    async with open_runtime(owner(mine, mine.owner or 0), config, place, pickers.pick_first) as runtime:
        job = await new_job(runtime)
        await mine.set_flow_run({job.id: uuid.uuid4()})
        [begun] = await mine.claim()
        await mine.set_destination(job.id, "local")
        runs = JobRuns(runtime, recorder)
        try:
            runs.resume(begun)

            async def is_settled() -> bool:
                return (await mine.get(job.id)).owner is None

            await until(is_settled)
        finally:
            await runs.stop()
    ended = await mine.get(job.id)
    assert (ended.state, ended.flow_run_id) == (State.OK, begun.flow_run_id)
    assert len(recorder.reports) == 1
