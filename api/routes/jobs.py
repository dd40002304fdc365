"""Jobs of the visitor. All answers come from the job's row and directory."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Depends, Path, Query, Request
from fastapi.responses import Response

from api import endings
from api.auth import CurrentUser
from api.http.small_bodies import SmallBodyRoute
from api.http.tagged import json_answer
from api.schemas import JobModelDTO, Problem
from api.services import ServicesDep
from flows.errors import JobNotFound
from flows.jobs.job import Job, JobFilter, Order, State

router = APIRouter(prefix="/api/job", tags=["job"], route_class=SmallBodyRoute)

_BIGINT = 2**63 - 1
_MAX_LIMIT = 1000
_WITHOUT_NUL = r"^[^\x00]*$"  # which PostgreSQL cannot store
# The two answers that pollers ask for are made without models, which would take longer than all else of them.
_SHOWN = tuple(JobModelDTO.model_fields)
_AS_MODELS_DO = orjson.OPT_UTC_Z
_UNCHANGED: dict[int | str, dict[str, Any]] = {
    304: {"description": "It is as it was when it got the ETag that was sent"}
}
_NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "There is no such job, or it is somebody else's"}
}


async def own_job(jobid: Annotated[int, Path()], user: CurrentUser, services: ServicesDep) -> Job:
    """Return the job; raise JobNotFound unless it is the visitor's."""
    not_found = JobNotFound(f"You have no job {jobid}.")
    if not 0 < jobid <= _BIGINT:
        raise not_found
    try:
        job = await services.store.get(jobid)
    except JobNotFound as error:
        raise not_found from error
    if job.submitter != user.username or job.deleted_on is not None:
        raise not_found
    return job


OwnJob = Annotated[Job, Depends(own_job)]


def _wanted(
    state: Annotated[list[State] | None, Query(description="Repeat it for more than one.")] = None,
    application: Annotated[str | None, Query(pattern=_WITHOUT_NUL)] = None,
    name: Annotated[
        str | None, Query(pattern=_WITHOUT_NUL, description="A part of the name, in upper or lower case.")
    ] = None,
) -> JobFilter:
    return JobFilter(states=state or (), application=application, name=name)


_TOTAL: dict[int | str, dict[str, Any]] = {
    200: {
        "headers": {
            "X-Total-Count": {
                "schema": {"type": "integer"},
                "description": "How many jobs there are, on this page and all others",
            }
        }
    }
}


@router.get("", include_in_schema=False, response_model=list[JobModelDTO])
@router.get("/", response_model=list[JobModelDTO], responses=_TOTAL | _UNCHANGED)
async def retrieve_jobs(
    user: CurrentUser,
    services: ServicesDep,
    request: Request,
    wanted: Annotated[JobFilter, Depends(_wanted)],
    limit: Annotated[int, Query(ge=0, le=_MAX_LIMIT)] = 10,
    offset: Annotated[int, Query(ge=0, le=_BIGINT)] = 0,
    order_by: Annotated[Order | None, Query(description="Without it, newest first.")] = None,
) -> Response:
    """Return your jobs, newest first."""
    rows = await services.store.rows_of_submitter(
        user.username, _SHOWN, limit=limit + 1, offset=offset, wanted=wanted, order=order_by
    )
    total = offset + len(rows)
    if len(rows) > limit or (offset and not rows):  # else this was the last page
        total = await services.store.count_of_submitter(user.username, wanted)
    content = orjson.dumps([dict(row) for row in rows[:limit]], option=_AS_MODELS_DO)
    return json_answer(request, content, {"X-Total-Count": str(total)})


@router.get("/{jobid}", response_model=JobModelDTO, responses=_NOT_FOUND | _UNCHANGED)
async def retrieve_job(job: OwnJob, request: Request) -> Response:
    """Return one of your jobs."""
    shown = {name: getattr(job, name) for name in _SHOWN}
    return json_answer(request, orjson.dumps(shown, option=_AS_MODELS_DO))


@router.post("/{jobid}/name", responses=_NOT_FOUND)
async def rename_job_name(
    job: OwnJob,
    services: ServicesDep,
    name: Annotated[str, Body(min_length=1, max_length=200, pattern=_WITHOUT_NUL)],
) -> None:
    """Give the job another name."""
    await services.store.rename(job.id, name)


_GOING_ON: dict[int | str, dict[str, Any]] = {
    202: {"model": JobModelDTO, "description": "The job will end, but has not yet"},
    409: {"model": Problem, "description": "The job has ended already"},
}


@router.post("/{jobid}/cancel", response_model=JobModelDTO, responses=_NOT_FOUND | _GOING_ON)
async def cancel_job(job: OwnJob, services: ServicesDep, response: Response) -> Job:
    """End the job and keep it with its files."""
    ended = await endings.cancel(job, services)
    if not ended.state.is_final:
        response.status_code = 202
    return ended


@router.delete("/{jobid}", status_code=204, responses=_NOT_FOUND)
async def delete_job(job: OwnJob, services: ServicesDep) -> None:
    """Remove the job and its files; one that is under way is ended first."""
    await endings.delete(job, services)


_PINS: dict[int | str, dict[str, Any]] = {
    409: {"model": Problem, "description": "You have pinned as many jobs as you may"}
}


@router.post("/{jobid}/pin", response_model=JobModelDTO, responses=_NOT_FOUND | _PINS)
async def pin_job(job: OwnJob, services: ServicesDep) -> Job:
    """Keep the job: it does not expire while it is pinned."""
    return await services.kept.pin(job, max_pins=services.config.max_pins)


@router.delete("/{jobid}/pin", response_model=JobModelDTO, responses=_NOT_FOUND)
async def unpin_job(job: OwnJob, services: ServicesDep) -> Job:
    """Let the job expire like others; when is announced before."""
    return await services.kept.unpin(job)
