"""Following a job: its states and its output as they come."""

from typing import Annotated, Any

from fastapi import APIRouter, Header
from fastapi.responses import Response

from api.live import events
from api.live.following import beginning
from api.routes.jobs import OwnJob
from api.routes.output import Tail
from api.schemas import Problem
from api.services import ServicesDep

router = APIRouter(prefix="/api/job", tags=["job"])

_DESCRIPTION = """Server-sent events of the job:

- `job`: the job as `GET /api/job/{jobid}` returns it; first as it is, then at each change of its state,
  reason, destination or name. The one with the state `ok` or `error` is the last event, after all output.
- `stdout`, `stderr`: a JSON string with what the command wrote since. While it runs on the server's machine
  you get it at once, else when the job has ended.
- `deleted`: the job was deleted; the last event.
"""
_EVENT = {
    "type": "object",
    "properties": {
        "event": {"enum": ["job", *events.FILES.values(), "deleted"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
        "id": {"type": "string"},
    },
    "required": ["event", "data"],
}
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"text/event-stream": {"itemSchema": _EVENT}},
        "description": _DESCRIPTION,
    },
    204: {"description": "Last-Event-ID is that of the last event: there will be no more"},
    404: {"model": Problem, "description": "There is no such job, or it is somebody else's"},
    429: {"model": Problem, "description": "You follow too many jobs at once"},
    503: {"model": Problem, "description": "Too many jobs are followed, or the database does not answer now"},
}
LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        description="The id of the last event that you got: output goes on after it. Browsers send it by "
        "themselves when they connect again.",
    ),
]


@router.get("/{jobid}/events", response_class=Response, responses=_EVENTS)
async def retrieve_job_events(
    job: OwnJob, services: ServicesDep, tail: Tail = None, last_event_id: LastEventId = None
) -> Response:
    """Follow one of your jobs to its end. A job that has ended is told at once, without its output."""
    positions = events.read_id(last_event_id)
    if job.state.is_final:
        if last_event_id == events.END:
            return Response(status_code=204)  # browsers then do not connect again
        positions = positions or {}
    if positions is None:
        positions = {name: await beginning(job, name, tail, services) for name in events.FILES}
    watched = services.watcher.open(job)
    return events.JobEvents(watched, job, positions, services)
