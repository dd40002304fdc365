"""Flow runs of jobs, where whole servers do not show what matters: those are in tests/e2e."""

import uuid
from typing import Any, cast

from deployments.worker.job_runs import JobRuns
from flows.database.pool import Pool
from flows.lifecycle.runtime import Runtime
from tests.all_jobs import AllJobs
from tests.deployments.recorders import Recorder


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
