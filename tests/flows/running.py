"""Jobs that are run as a worker runs them, without one."""

import uuid
import zipfile
from typing import Any

from prefect.client.schemas.objects import State as PrefectState
from prefect.filesystems import LocalFileSystem

from flows.jobs.job import Job
from flows.lifecycle.runtime import Runtime
from flows.run_job import run_job
from tests.all_jobs import AllJobs


async def new_job(runtime: Runtime, command: str = "true") -> Job:
    """Return a job of the first application, with a file ``input`` in its archive."""
    token, application = uuid.uuid4(), next(iter(runtime.config.applications))
    upload = runtime.place.upload(str(token))
    upload.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(upload, "w") as archive:
        archive.writestr("input", "1")
    return await AllJobs(runtime.jobs.pool).create(
        application=application, submitter="me", roles=[], command=command, token=token
    )


async def run(runtime: Runtime, job: Job) -> tuple[Job, PrefectState[Any]]:
    """Run the flow; return how the job and the flow run ended."""
    storage = LocalFileSystem(basepath=str(runtime.place.results))
    await storage.asave("results-of-tests", overwrite=True)
    flow = run_job.with_options(result_storage=storage)
    state = await flow(job.id, return_state=True)
    return await runtime.jobs.get(job.id), state
