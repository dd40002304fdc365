"""Files of the visitor's jobs that have ended: one by one, listed, and as archives."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import RedirectResponse, Response

from api.auth import comes_by_cookie
from api.files.archives import ArchiveAnswer, Excluded, archive
from api.files.downloads import FileAnswer, open_file
from api.files.listings import DEEPEST, DirectoryItem, listing
from api.files.open_file import NotThere
from api.files.packing import ArchiveFormat
from api.files.shown import OPAQUE, SANDBOX, VIEW, address, may_run
from api.routes.jobs import OwnJob
from api.schemas import Problem
from api.services import Services, ServicesDep
from flows.errors import JobNotCompleted, JobNotFound
from flows.jobs.job import Job

router = APIRouter(prefix="/api/job", tags=["job"])
shown = APIRouter(tags=["job"])

T = TypeVar("T")
_Answers = dict[int | str, dict[str, Any]]

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_NOT_KEPT = {"Cache-Control": "no-store"}  # the address is good for a while only
_LONGEST_NAME = 60  # of a path in a message
_REFUSALS: _Answers = {
    404: {"model": Problem, "description": "There is no such job or file, or it is somebody else's"},
    425: {"model": Problem, "description": "The job has not ended yet"},
}
_FILE: _Answers = _REFUSALS | {
    200: {"content": {"*/*": _BINARY}, "description": "The file, with its media type"},
    206: {"content": {"*/*": _BINARY}, "description": "The range that was asked for"},
    304: {"description": "The file is as it was when it got the ETag that was sent"},
    416: {"model": Problem, "description": "The range is after the end of the file"},
}
_ARCHIVE: _Answers = _REFUSALS | {
    200: {"content": {kind.media_type: _BINARY for kind in ArchiveFormat}, "description": "The archive"},
}


async def ended_job(job: OwnJob) -> Job:
    """Return the visitor's job; raise JobNotCompleted before its end."""
    if not job.state.is_final:
        raise JobNotCompleted(f"Job {job.id} is {job.state}; its files can be read once it has ended.")
    return job


EndedJob = Annotated[Job, Depends(ended_job)]
FilePath = Annotated[str, Path(description="Relative to the job's directory")]
MaxDepth = Annotated[int, Query(ge=1, description=f"Levels to show; {DEEPEST} at most are shown")]


async def _find(services: Services, job: Job, path: str, function: Callable[..., T], *arguments: object) -> T:
    """Call the function with the job's directory, in a thread; raise JobNotFound where there is nothing."""
    try:
        return await services.on_disk(function, services.place.job_dir(job.id), path, *arguments)
    except NotThere as error:
        name = path if len(path) <= _LONGEST_NAME else f"{path[:_LONGEST_NAME]}…"
        raise JobNotFound(
            f"Job {job.id} has no {name}." if name else f"Job {job.id} has no files."
        ) from error


@router.get("/{jobid}/files/{path:path}", response_class=Response, responses=_FILE)
async def retrieve_job_file(
    job: EndedJob, path: FilePath, services: ServicesDep, request: Request
) -> Response:
    """Return a file of a completed job."""
    opened = await _find(services, job, path, open_file)
    file, _, kind = opened
    if comes_by_cookie(request) and may_run(kind):
        await services.on_disk(file.close)
        return RedirectResponse(address(request, services.capabilities.make(job.id), path), 307, _NOT_KEPT)
    return FileAnswer(opened, services, OPAQUE if may_run(kind) else None)


@shown.get(VIEW + "/{capability}/{path:path}", response_class=Response, include_in_schema=False)
async def show_job_file(capability: str, path: FilePath, services: ServicesDep) -> Response:
    """Return a file to a browser that was sent here."""
    job = await services.store.get(services.capabilities.job_of(capability))
    if job.deleted_on is not None or not job.state.is_final:
        raise JobNotFound("The job of this file is not there any more.")
    return FileAnswer(await _find(services, job, path, open_file), services, SANDBOX)


@router.get("/{jobid}/directories", response_model=DirectoryItem, responses=_REFUSALS)
async def retrieve_job_directories(job: EndedJob, services: ServicesDep, max_depth: MaxDepth = 1) -> Response:
    """Return what is in the directory of a completed job."""
    return await retrieve_job_directories_from_path(job, "", services, max_depth)


@router.get("/{jobid}/directories/{path:path}", response_model=DirectoryItem, responses=_REFUSALS)
async def retrieve_job_directories_from_path(
    job: EndedJob, path: FilePath, services: ServicesDep, max_depth: MaxDepth = 1
) -> Response:
    """Return what is in a directory of a completed job; ``max_depth`` counts from there."""
    content = await _find(services, job, path, listing, max_depth)
    return Response(content, media_type="application/json")


class ArchiveOptions:
    """What is asked of an archive."""

    def __init__(
        self,
        archive_format: ArchiveFormat = ArchiveFormat.ZIP,
        exclude: Annotated[list[str], Query(description="Patterns of files to leave out")] = [],  # noqa: B006 - only read
        exclude_dirs: Annotated[list[str], Query(description="Patterns of directories to leave out")] = [],  # noqa: B006 - only read
        filename: Annotated[
            str, Query(max_length=200, description="Name to save the archive as; empty for one of ours")
        ] = "",
    ) -> None:
        self.format = archive_format
        self.excluded = Excluded(exclude, exclude_dirs)
        self.filename = filename


Options = Annotated[ArchiveOptions, Depends()]


@router.get("/{jobid}/archive", response_class=Response, responses=_ARCHIVE)
async def retrieve_job_directory_as_archive(
    job: EndedJob, services: ServicesDep, options: Options
) -> Response:
    """Return the files of a completed job as an archive."""
    return await retrieve_job_subdirectory_as_archive(job, "", services, options)


@router.get("/{jobid}/archive/{path:path}", response_class=Response, responses=_ARCHIVE)
async def retrieve_job_subdirectory_as_archive(
    job: EndedJob, path: FilePath, services: ServicesDep, options: Options
) -> Response:
    """Return what is in a directory of a completed job as an archive, without that directory itself."""
    pieces = await _find(services, job, path, archive, options.format, options.excluded)
    name = options.filename or f"{path.rstrip('/').rpartition('/')[2] or job.id}{options.format}"
    return ArchiveAnswer(pieces, options.format, name, services)
