"""One submission: its body comes in, a job comes out, or nothing is left of it."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from fastapi import Request

from api.database import may_be_written
from api.http.bodies import receive_body
from api.http.storage import room_or_storage_full
from api.services import Services
from api.submission.archive_file import Archive
from api.submission.free_ids import free_id
from api.submission.multipart import MAX_PARTS, MAX_TEXT, FormReader
from api.values.forms import Form
from flows import archives
from flows.archives.limits import UploadLimits
from flows.errors import InvalidUpload, NotAllowed, Unavailable, UnknownApplication, VisitorError
from flows.jobs.job import Job
from flows.jobs.users import User

ARCHIVE_TYPES = (
    "application/zip",
    "application/x-zip-compressed",
    "application/x-tar",
    "application/gzip",
    "application/x-bzip2",
    "application/x-xz",
    "application/zstd",
)
"""What a bare body may call itself. What it is, its content says."""

FORM_TYPE = "multipart/form-data"
# What a form may have around its archive: the text fields, and the headers and boundary of each part.
_FORM_EXTRA = MAX_TEXT + MAX_PARTS * 1024


class KeyReused(VisitorError):
    """The Idempotency-Key is that of a job of another application."""


async def submit(
    name: str, request: Request, user: User, services: Services, idempotency_key: str | None = None
) -> Job:
    """Return the new job, durable with its archive, or the one that has this idempotency key already.

    Raises VisitorError, Unavailable or Starlette's ClientDisconnect; nothing is kept then.
    """
    form = services.forms.get(name)
    if form is None:
        raise UnknownApplication(f"There is no application {name[:100]!r}.")
    if not user.may_submit(form.application.allowed_roles):
        raise NotAllowed(f"Your roles do not allow you to submit to application {name!r}.")
    if idempotency_key is not None:
        earlier = await services.store.by_idempotency_key(user.username, idempotency_key)
        if earlier is not None:
            return await _again(earlier, name, request, services)
    token = uuid.uuid4()
    async with _archive(token, services) as archive:
        command = await _receive(request, archive, form, services)
        job_id = await free_id(services.store, services.place, services.on_disk)
        archive.keep = True  # from here on a job may need it
        try:
            job = await services.store.create(
                application=name,
                submitter=user.username,
                roles=list(user.roles),
                command=command,
                token=token,
                idempotency_key=idempotency_key,
                job_id=job_id,
            )
        except Unavailable as error:
            archive.keep = may_be_written(error)
            raise
        archive.keep = job.token == token
    services.dispatcher.wake()
    return _of_application(job, name)


async def _again(job: Job, name: str, request: Request, services: Services) -> Job:
    _of_application(job, name)

    async def ignore(_data: bytes) -> None: ...

    # To its end: a client that still sends may not look for the answer.
    await receive_body(request, ignore, limit=services.settings.max_upload_size + _FORM_EXTRA)
    return job


def _of_application(job: Job, name: str) -> Job:
    if job.application != name:
        raise KeyReused(
            f"This Idempotency-Key is that of job {job.id} of application {job.application!r}; use a new one."
        )
    return job


@asynccontextmanager
async def _archive(token: uuid.UUID, services: Services) -> AsyncIterator[Archive]:
    """Discard the archive at the end unless it is to be kept."""
    archive = Archive(services.place.upload(str(token)), limit=services.settings.max_upload_size)
    try:
        yield archive
    finally:
        if not archive.keep:
            await services.on_disk(archive.discard)


async def _receive(request: Request, archive: Archive, form: Form, services: Services) -> str:
    """Write the archive and return the command."""
    reader, limit = _reader(request.headers.get("Content-Type", ""), archive)

    async def feed(data: bytes) -> None:
        await services.on_disk(reader.feed, data)

    rest = await receive_body(request, feed, limit=limit)
    # One thread for all that is left: a small submission needs no other.
    return await services.on_disk(_finish, reader, rest, archive, form, services.config.uploads)


class _Reader(Protocol):
    fields: list[tuple[str, str]]

    def feed(self, data: bytes) -> None: ...

    def finish(self) -> None: ...


class _BareReader:
    """The body is the archive."""

    def __init__(self, archive: Archive) -> None:
        self.fields: list[tuple[str, str]] = []
        self.feed = archive.write

    def finish(self) -> None:
        pass


def _reader(content_type: str, archive: Archive) -> tuple[_Reader, int]:
    """Return what reads a body of this type, and how many bytes it may have."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == FORM_TYPE:
        return FormReader(content_type, archive.write), archive.limit + _FORM_EXTRA
    if media_type in ARCHIVE_TYPES:
        return _BareReader(archive), archive.limit
    types = ", ".join(ARCHIVE_TYPES)
    raise InvalidUpload(f"Send the archive as {types}, or with fields as {FORM_TYPE}.")


def _finish(reader: _Reader, rest: bytes, archive: Archive, form: Form, limits: UploadLimits) -> str:
    reader.feed(rest)
    reader.finish()
    archive.close()
    command = form.command(reader.fields)
    with room_or_storage_full():
        archives.check(archive.path, form.application.upload_needs, limits)
    archive.make_durable()
    return command
