"""One submission: its body comes in, a job comes out, or nothing is left of it."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import Request

from api.http.bodies import receive_body
from api.http.storage import room_or_storage_full
from api.services import Services
from api.submission.archive_file import Archive
from api.submission.body import SubmissionBody, body_of
from api.submission.free_ids import free_id
from api.submission.multipart import FormBody
from api.values.forms import ApplicationForm
from flows import archives
from flows.archives.limits import UploadLimits
from flows.database.errors import may_be_done
from flows.errors import NotAllowed, Unavailable, UnknownApplication, VisitorError
from flows.jobs.job import Job
from flows.jobs.quotas import QuotaExceeded
from flows.jobs.users import User


class KeyReused(VisitorError):
    """The Idempotency-Key is that of a job of another application."""


async def submit(
    name: str, request: Request, user: User, services: Services, idempotency_key: str | None = None
) -> Job:
    """Return the new job, durable with its archive, or the one that has this idempotency key already.

    Raises VisitorError, such as QuotaExceeded, Unavailable or Starlette's ClientDisconnect: nothing is kept.
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
    quota = services.config.quotas.of(user)
    if quota.refuses:  # before the body is read; it counts when the job is written down
        quota.check(await services.store.use(user.username), _least_size(request))
    token = uuid.uuid4()
    archive = Archive(services.place.upload(str(token)), limit=services.settings.max_upload_size)
    async with _discarded_on_error(archive, services):
        body = body_of(request.headers, archive.write)
        command = await _receive(request, body, archive, form, services)
        job_id = await free_id(services.store, services.place, services.on_disk)
    job = await _create(
        archive,
        services,
        job_id=job_id,
        name=body.file_name,
        application=name,
        submitter=user.username,
        roles=list(user.roles),
        command=command,
        token=token,
        idempotency_key=idempotency_key,
        size=archive.size,
        quota=quota,
    )
    services.workers.wake()
    return _of_application(job, name)


def _least_size(request: Request) -> int:
    """Return how many bytes the archive has at least, as far as the headers tell."""
    announced = request.headers.get("Content-Length", "")
    return max(0, int(announced) - FormBody.most_besides) if announced.isdecimal() else 0


async def _again(job: Job, name: str, request: Request, services: Services) -> Job:
    _of_application(job, name)

    async def ignore(_data: bytes) -> None: ...

    # To its end: a client that still sends may not look for the answer.
    await receive_body(request, ignore, limit=services.settings.max_upload_size + FormBody.most_besides)
    return job


def _of_application(job: Job, name: str) -> Job:
    if job.application != name:
        raise KeyReused(
            f"This Idempotency-Key is that of job {job.id} of application {job.application!r}; use a new one."
        )
    return job


@asynccontextmanager
async def _discarded_on_error(archive: Archive, services: Services) -> AsyncIterator[None]:
    try:
        yield
    except BaseException:
        await services.on_disk(archive.discard)
        raise


async def _create(archive: Archive, services: Services, *, token: uuid.UUID, **values: Any) -> Job:
    """Write down the job, which may need the archive from here on, unless what comes back says otherwise."""
    try:
        job = await services.store.create(token=token, **values)
    except QuotaExceeded:
        await services.on_disk(archive.discard)
        raise
    except Unavailable as error:
        if not may_be_done(error):
            await services.on_disk(archive.discard)
            raise
        with suppress(Unavailable):
            if (written := await services.store.by_token(token)) is not None:
                return written  # only the answer was lost
        raise  # it may still come to be
    if job.token != token:  # an earlier submission with the same key was faster, and has its own archive
        await services.on_disk(archive.discard)
    return job


async def _receive(
    request: Request, body: SubmissionBody, archive: Archive, form: ApplicationForm, services: Services
) -> str:
    """Write the archive and return the command."""

    async def feed(data: bytes) -> None:
        await services.on_disk(body.feed, data)

    limit = services.settings.max_upload_size + body.most_besides
    rest = await receive_body(request, feed, limit=limit)
    # One thread for all that is left: a small submission needs no other.
    return await services.on_disk(_finish, body, rest, archive, form, services.config.uploads)


def _finish(
    body: SubmissionBody, rest: bytes, archive: Archive, form: ApplicationForm, limits: UploadLimits
) -> str:
    body.feed(rest)
    body.finish()
    archive.close()
    command = form.command(body.fields)
    with room_or_storage_full():
        archives.check(archive.path, form.application.upload_needs, limits)
    archive.make_durable()
    return command
