"""What the command of one of the visitor's jobs wrote to its standard output and error."""

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response

from api.files.open_file import NotThere, text_answer
from api.live.following import Output, Written, beginning, follow, is_written_here, runs_here
from api.live.growing import MOST_LINES, MOST_TAIL, Position, read_on, tail_start
from api.live.streams import Stream
from api.routes.jobs import OwnJob
from api.schemas import Problem
from api.services import Services, ServicesDep
from api.watching import Watched
from flows.disk.places import STDERR, STDOUT
from flows.errors import JobNotCompleted, JobNotFound
from flows.jobs.job import Job

router = APIRouter(prefix="/api/job", tags=["job"])

_OUTPUT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "The output"},
    404: {
        "model": Problem,
        "description": "There is no such job, it is somebody else's, or it has no output",
    },
    425: {
        "model": Problem,
        "description": "The job has not ended yet and `follow` was not asked for; with `tail`: it does not "
        "run yet, or its output comes here only when it has ended",
    },
    429: {"model": Problem, "description": "You follow too many jobs at once"},
    503: {"model": Problem, "description": "Too many jobs are followed, or the database does not answer now"},
}
Tail = Annotated[
    int | None,
    Query(
        ge=0,
        le=MOST_LINES,
        description="Begin with the last so many lines of what is there now, and at most "
        f"{MOST_TAIL:,} bytes before its end.",
    ),
]
Follow = Annotated[
    bool,
    Query(
        description="Send the output as it is written, until the job has ended. Where the job runs "
        "elsewhere, its output comes here at the end, and all of it is sent then. An answer that is cut "
        "short was not the whole."
    ),
]


@router.get("/{jobid}/stdout", response_class=Response, responses=_OUTPUT)
async def retrieve_job_stdout(
    job: OwnJob, services: ServicesDep, follow: Follow = False, tail: Tail = None
) -> Response:
    """Return what the job's command wrote to its standard output; without parameters, once it has ended."""
    return await _output(job, STDOUT, follow, tail, services)


@router.get("/{jobid}/stderr", response_class=Response, responses=_OUTPUT)
async def retrieve_job_stderr(
    job: OwnJob, services: ServicesDep, follow: Follow = False, tail: Tail = None
) -> Response:
    """Return what the job's command wrote to its standard error; without parameters, once it has ended."""
    return await _output(job, STDERR, follow, tail, services)


async def _output(job: Job, name: str, following: bool, tail: int | None, services: Services) -> Response:
    if following and not job.state.is_final:
        position = await beginning(job, name, tail, services)
        return FollowedText(services.watcher.open(job), job, name, position, services)
    _check_is_there(job, tail, services)
    directory = services.place.job_dir(job.id)
    try:
        if tail is None:
            return await text_answer(directory, name, services)
        # In memory, since a command that still writes may make it shorter meanwhile.
        position = await services.on_disk(tail_start, directory, name, tail)
        piece = await services.on_disk(read_on, directory, name, position, MOST_TAIL)
        content = piece.content
    except NotThere as error:
        if not await services.on_disk(_is_of_no_command, directory, name):
            raise JobNotFound(f"Job {job.id} has no {name}.") from error
        content = b""
    return Response(content, media_type="text/plain", headers={"X-Content-Type-Options": "nosniff"})


def _is_of_no_command(directory: Path, name: str) -> bool:
    """Whether the job is one of ``bartender link``, for which no command of ours wrote anything."""
    return directory.is_symlink() and not os.path.lexists(directory / name)


def _check_is_there(job: Job, tail: int | None, services: Services) -> None:
    if job.state.is_final or (tail is not None and is_written_here(job, services.config)):
        return
    if tail is None:
        raise JobNotCompleted(f"Job {job.id} is {job.state}; its output can be read once it has ended.")
    if job.destination is None or runs_here(job, services.config):
        raise JobNotCompleted(f"Job {job.id} is {job.state}; it has no output yet.")
    raise JobNotCompleted(
        f"Job {job.id} runs elsewhere; its output comes here when it has ended. follow=true waits for that."
    )


class FollowedText(Stream):
    """An output file as it is written."""

    media_type = "text/plain"
    ends_with_server = False

    def __init__(self, watched: Watched, job: Job, name: str, position: Position, services: Services) -> None:
        super().__init__(watched, services)
        self._output = Output(job, {name: position}, services, whole=False)

    async def pieces(self) -> AsyncGenerator[bytes]:
        async with aclosing(follow(self._watched, self._output, self._services.config)) as news:
            async for item in news:
                if isinstance(item, Written):
                    yield item.content
