"""Removal of deleted jobs: their files, then their rows."""

import asyncio
import logging
import shutil

from flows.disk import names
from flows.disk.places import Place
from flows.disk.trees import remove_tree
from flows.jobs.end_requests import EndRequests
from flows.jobs.job import Job

logger = logging.getLogger(__name__)


async def purge(job: Job, place: Place, requests: EndRequests) -> bool:
    """Remove what is left of a deleted job that nobody runs any more; may be repeated.

    Raises Unavailable when the database is away. The row stays while the files cannot be removed: False.
    """
    try:
        await asyncio.to_thread(remove_files, job, place)
    except OSError:
        logger.exception("The files of the deleted job %s cannot be removed now", job.id)
        return False
    await requests.purge(job.id)
    return True


def remove_files(job: Job, place: Place) -> None:
    """Remove the job's directory and its upload."""
    place.upload(str(job.token)).unlink(missing_ok=True)
    shutil.rmtree(place.job_root / names.guard(str(job.token)), ignore_errors=True)
    directory = place.job_dir(job.id)
    if directory.is_symlink():  # of a linked job, whose files are not ours
        directory.unlink()
        return
    # Gone at once for everybody; to remove what was in it may take a while, and may be interrupted.
    doomed = place.hidden_dir(job.id, str(job.token))
    remove_tree(doomed)
    try:
        directory.rename(doomed)
    except FileNotFoundError:
        return
    except OSError:
        if not doomed.exists():  # else another process is at the same, just now
            raise
    remove_tree(doomed)
