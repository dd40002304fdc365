"""What the command of one of the visitor's jobs wrote to its standard output and error."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from api.files import NotThere, text_answer
from api.routes.jobs import OwnJob
from api.schemas import Problem
from api.services import Services, ServicesDep
from flows.errors import JobNotCompleted, JobNotFound
from flows.jobs import Job

router = APIRouter(prefix="/api/job", tags=["job"])

_OUTPUT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "The output"},
    404: {
        "model": Problem,
        "description": "There is no such job, it is somebody else's, or it has no output",
    },
    425: {"model": Problem, "description": "The job has not ended yet"},
}


@router.get("/{jobid}/stdout", response_class=Response, responses=_OUTPUT)
async def retrieve_job_stdout(job: OwnJob, services: ServicesDep) -> Response:
    """Return what the completed job's command wrote to its standard output."""
    return await _output(job, "stdout.txt", services)


@router.get("/{jobid}/stderr", response_class=Response, responses=_OUTPUT)
async def retrieve_job_stderr(job: OwnJob, services: ServicesDep) -> Response:
    """Return what the completed job's command wrote to its standard error."""
    return await _output(job, "stderr.txt", services)


async def _output(job: Job, name: str, services: Services) -> Response:
    if not job.state.is_final:
        raise JobNotCompleted(f"Job {job.id} is {job.state}; its output can be read once it has ended.")
    try:
        directory = services.place.job_dir(job.id)
        return await text_answer(directory, name, services)
    except NotThere as error:
        raise JobNotFound(f"Job {job.id} has no {name}.") from error
