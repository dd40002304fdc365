"""Submission of jobs. In OpenAPI these routes are unrolled, one for each application: see ``openapi``."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.auth import CurrentUser
from api.schemas import Problem
from api.services import ServicesDep
from api.submissions import submit

router = APIRouter(tags=["application"])

_ANSWERS: dict[int | str, dict[str, Any]] = {
    303: {
        "description": "The job was accepted; it is at the Location",
        "headers": {
            "Location": {"schema": {"type": "string"}, "description": "/api/job/{id} of the new job"}
        },
    },
    408: {"model": Problem, "description": "The upload did not go on"},
    413: {"model": Problem, "description": "The upload is too large"},
    422: {
        "model": Problem,
        "description": "Unknown application, or the archive or a field is not as it has to be",
    },
    507: {"model": Problem, "description": "There is no room for the upload"},
}


@router.put("/api/application/{application}", status_code=303, response_class=Response, responses=_ANSWERS)
@router.put(
    "/api/application/{application}/job",
    name="submit_job_or_archive",
    status_code=303,
    response_class=Response,
    responses=_ANSWERS,
)
async def submit_job(
    application: str, request: Request, user: CurrentUser, services: ServicesDep
) -> Response:
    """Submit a job: an archive with its files and, in a form, the application's fields."""
    job = await submit(application, request, user, services)
    location = f"{request.scope.get('root_path', '')}/api/job/{job.id}"
    return Response(status_code=303, headers={"Location": location})
