"""Interactive applications. In OpenAPI the route is unrolled, one for each of them: see ``unrolled``."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.interactive.command import Accepted
from api.routes.jobs import OwnJob
from api.schemas import InteractiveAppResult, Problem
from api.services import ServicesDep
from flows.errors import JobNotCompleted
from flows.local.quick_commands import Result

router = APIRouter(prefix="/api/job", tags=["interactive"])

_LOCATION = {
    "Location": {"schema": {"type": "string"}, "description": "Where the result will be, for an hour"}
}
# Not 202, which only `Prefer: respond-async` gets: of an answer without content among those that are well,
# generated clients (openapi-fetch 0.9) make the type "never" of what all of them bring.
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
    504: {
        "model": Problem,
        "description": "The command takes too long to wait for; with a Location, it goes on",
        "headers": _LOCATION,
    },
    507: {"model": Problem, "description": "There is no room for the files in the body"},
}


@router.post("/{jobid}/interactive/{application}", response_model=InteractiveAppResult, responses=_ANSWERS)
async def run_interactive_application(
    job: OwnJob, application: str, request: Request, services: ServicesDep
) -> Response:
    """Run a quick command in the directory of a completed job, and return what it wrote.

    One that takes long goes on after the answer 504; its result will be at the Location. It is also the
    answer to the next request with the same values, unless the job's files have changed since. With the
    header `Prefer: respond-async` the answer is 202 at once, with such a Location.
    """
    if not job.state.is_final:
        raise JobNotCompleted(
            f"Job {job.id} is {job.state}; interactive applications need one that has ended."
        )
    result = await services.interactive.run(application, job, request)
    if isinstance(result, Accepted):
        headers = {"Location": result.location, "Preference-Applied": "respond-async"}
        return Response(status_code=202, headers=headers)
    return _answer(result)


_RESULTS: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "There is no such job or result, or it is somebody else's"},
    410: {"model": Problem, "description": "The server was stopped before the command ended"},
    422: {"model": Problem, "description": "The values made a command that cannot be run"},
    425: {"model": Problem, "description": "The command has not ended yet"},
    503: {"model": Problem, "description": "The command could not be run: others were running"},
    504: {"model": Problem, "description": "The command took too long and was ended"},
}


@router.get(
    "/{jobid}/interactive/{application}/{result}", response_model=InteractiveAppResult, responses=_RESULTS
)
async def retrieve_interactive_result(
    job: OwnJob, application: str, result: str, services: ServicesDep
) -> Response:
    """Return what came of a quick command that was not waited for."""
    return _answer(await services.interactive.result(application, job, result))


def _answer(result: Result) -> Response:
    answer = InteractiveAppResult.model_validate(result, from_attributes=True)
    return Response(answer.model_dump_json(exclude_defaults=True), media_type="application/json")
