"""``bartender link``: a completed job out of a directory that is there already."""

import asyncio
import os
from pathlib import Path

from api.submission.free_ids import free_id
from api.submission.job_name import as_job_name
from api.tokens.verification import is_name
from deployments import migrations
from deployments.settings import Settings
from flows.configuration.config import load
from flows.database.errors import may_be_done
from flows.database.pool import Pool
from flows.disk.places import Place
from flows.errors import ConfigurationError, JobNotFound, Unavailable
from flows.jobs.store import JobStore


async def link(directory: Path, *, submitter: str, application: str, settings: Settings) -> int:
    """Return the id of the new job, whose directory is a link to this one.

    Raises ConfigurationError; nothing is left then, unless it says so.
    """
    place = settings.place(load(settings.config_filename))
    target = _checked(directory, place)
    for name in (submitter, application):
        if not is_name(name):
            raise ConfigurationError(f"{name!r}: is not a name; give 1 to 255 printable characters")
    url = settings.configured_database()
    assert url is not None  # noqa: S101 - the command line has looked for one
    await migrations.check(url)
    pool = Pool(url)
    try:
        return await _add(JobStore(pool), target, place, submitter, application)
    except Unavailable as error:
        raise ConfigurationError("environment: the database stopped answering; run this again") from error
    finally:
        await pool.close()


def _checked(directory: Path, place: Place) -> Path:
    if not directory.is_dir():
        raise ConfigurationError(f"{directory}: is not a directory; give the one with the job's files")
    if not os.access(directory, os.R_OK | os.X_OK):
        raise ConfigurationError(f"{directory}: cannot be read; give its owner's permission to do so")
    target = directory.resolve()
    for own in (place.data_dir, place.job_root.resolve()):
        # Else a visitor would read the uploads and jobs of others, or the database.
        if target.is_relative_to(own) or own.is_relative_to(target):
            raise ConfigurationError(
                f"{directory}: is or holds what Bartender keeps in {own}; link another directory"
            )
    return target


async def _add(store: JobStore, target: Path, place: Place, submitter: str, application: str) -> int:
    job_id = await free_id(store, place, asyncio.to_thread)
    job_dir = place.job_dir(job_id)
    try:
        place.job_root.mkdir(parents=True, exist_ok=True)
        job_dir.symlink_to(target, target_is_directory=True)
    except OSError as error:
        raise ConfigurationError(
            f"{job_dir}: cannot be made ({error.strerror}); free the name or correct the permissions"
        ) from error
    try:
        # File names may be bytes that are no text.
        name = as_job_name(os.fsencode(target.name).decode(errors="replace")) or f"job{job_id}"
        await store.add_completed(job_id=job_id, name=name, application=application, submitter=submitter)
    except Unavailable as error:
        if not may_be_done(error):
            job_dir.unlink()
            raise
        if not await _is_there(store, job_id):
            raise ConfigurationError(
                f"environment: the database stopped answering; look whether job {job_id} is there before you "
                f"run this again, and remove {job_dir} if it is not"
            ) from error
    except BaseException:
        job_dir.unlink()
        raise
    return job_id


async def _is_there(store: JobStore, job_id: int) -> bool:
    """Whether the job certainly is there; else it may still come to be."""
    try:
        await store.get(job_id)
    except (JobNotFound, Unavailable):
        return False
    return True
