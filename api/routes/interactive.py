"""Interactive applications. In OpenAPI the route is unrolled, one for each of them: see ``unrolled``."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.routes.jobs import OwnJob
from api.schemas import InteractiveAppResult, Problem
from api.services import ServicesDep
from flows.errors import JobNotCompleted

router = APIRouter(prefix="/api/job", tags=["job"])

_ANSWERS: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "There is no such job, or it is somebody else's, or has no files"},
    408: {"model": Problem, "description": "The values did not arrive"},
    413: {"model": Problem, "description": "The body is too large"},
    422: {
        "model": Problem,
        "description": "Unknown interactive application, one for jobs of another application, "
        "or a value is not as it has to be",
    },
    425: {"model": Problem, "description": "The job has not ended yet"},
    503: {"model": Problem, "description": "Others are running: on this job, or too many"},
    504: {"model": Problem, "description": "The command took too long and was ended"},
    507: {"model": Problem, "description": "There is no room for the files in the body"},
}


@router.post("/{jobid}/interactive/{application}", response_model=InteractiveAppResult, responses=_ANSWERS)
async def run_interactive_application(
    job: OwnJob, application: str, request: Request, services: ServicesDep
) -> Response:
    """Run a quick command in the directory of a completed job, and return what it wrote."""
    if not job.state.is_final:
        raise JobNotCompleted(
            f"Job {job.id} is {job.state}; interactive applications need one that has ended."
        )
    result = await services.interactive.run(application, job, request)
    answer = InteractiveAppResult.model_validate(result, from_attributes=True)
    return Response(answer.model_dump_json(exclude_defaults=True), media_type="application/json")
