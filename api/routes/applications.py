"""Submission of jobs. In OpenAPI these routes are unrolled, one for each application: see ``openapi``."""

from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response

from api.auth import CurrentUser
from api.http.prefix import below
from api.http.rate_limits import rate_limits
from api.schemas import ApplicationDTO, Problem
from api.services import ServicesDep
from api.submission.submit import submit
from flows.errors import Unavailable

router = APIRouter(tags=["application"])

_LEFT = {
    "RateLimit": {
        "schema": {"type": "string"},
        "description": "What is left of your quotas, if you have any",
    },
    "RateLimit-Policy": {"schema": {"type": "string"}, "description": "Your quotas"},
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    303: {
        "description": "The job was accepted; it is at the Location",
        "headers": {
            "Location": {"schema": {"type": "string"}, "description": "/api/job/{id} of the new job"},
            **_LEFT,
        },
    },
    408: {"model": Problem, "description": "The upload did not go on"},
    413: {"model": Problem, "description": "The upload is too large"},
    422: {
        "model": Problem,
        "description": "Unknown application, the archive or a field is not as it has to be, "
        "or the Idempotency-Key is that of a job of another application",
    },
    429: {
        "model": Problem,
        "description": "You have as many jobs waiting, or have submitted as many within an hour, as you may",
        "headers": {
            "Retry-After": {
                "schema": {"type": "integer"},
                "description": "Seconds until it may be tried again",
            },
            **_LEFT,
        },
    },
    507: {
        "model": Problem,
        "description": "There is no room for the upload, or you keep as many bytes as you may",
    },
}


IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern="^[ -~]*$",
        description="A name of your own for this submission: sent again, it leads to the same job.",
    ),
]


@router.get("/api/application", include_in_schema=False, response_model=list[ApplicationDTO])
@router.get("/api/application/", response_model=list[ApplicationDTO])
async def list_applications(user: CurrentUser, services: ServicesDep) -> list[ApplicationDTO]:
    """Return what your roles allow you to submit."""
    applications = {name: form.application for name, form in services.forms.items()}
    return [
        ApplicationDTO(
            name=name,
            summary=application.summary,
            description=application.description,
            input_schema=application.input_schema,
            upload_needs=list(application.upload_needs),
        )
        for name, application in applications.items()
        if user.may_submit(application.allowed_roles)
    ]


@router.put("/api/application/{application}", status_code=303, response_class=Response, responses=_ANSWERS)
@router.put(
    "/api/application/{application}/job",
    name="submit_job_or_archive",
    status_code=303,
    response_class=Response,
    responses=_ANSWERS,
)
async def submit_job(
    application: str,
    request: Request,
    user: CurrentUser,
    services: ServicesDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Submit a job: an archive with its files and, in a form, the application's fields."""
    job = await submit(application, request, user, services, idempotency_key)
    headers = {"Location": below(request, f"/api/job/{job.id}")}
    if (quota := services.config.quotas.of(user)).refuses:
        with suppress(Unavailable):  # the job was accepted all the same
            headers |= rate_limits(quota, await services.store.use(user.username))
    return Response(status_code=303, headers=headers)
