"""Removal of deleted jobs: their files, then their rows."""

import asyncio
import errno
import logging
import os
import shutil
import stat
import time
from pathlib import Path
from typing import Any

from flows.jobs import Job
from flows.places import Place
from flows.store import JobStore

logger = logging.getLogger(__name__)

_TRIES = 10


async def purge(job: Job, place: Place, store: JobStore) -> bool:
    """Remove what is left of a deleted job that nobody runs any more; may be repeated.

    Raises Unavailable when the database is away. The row stays while the files cannot be removed: False.
    """
    try:
        await asyncio.to_thread(remove_files, job, place)
    except OSError:
        logger.exception("The files of the deleted job %s cannot be removed now", job.id)
        return False
    await store.purge(job.id)
    return True


def remove_files(job: Job, place: Place) -> None:
    """Remove the job's directory and its upload."""
    place.upload(str(job.token)).unlink(missing_ok=True)
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


def remove_tree(directory: Path) -> None:
    """Remove a directory, where its owner has denied himself that and while somebody writes there, too."""
    for tried in range(_TRIES):
        try:
            shutil.rmtree(directory, onerror=_allow)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            time.sleep(0.02 * tried)  # whoever writes may be about to end
        else:
            return
    raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(directory))


def _allow(_function: Any, path: str, error: Any) -> None:
    if issubclass(error[0], FileNotFoundError):
        return  # removed by the call below for what is in it
    if not issubclass(error[0], PermissionError):
        raise error[1]
    # It may be the directory itself that cannot be read, or the one above that cannot be written.
    for place in (os.path.dirname(path), path):  # noqa: PTH120 - shutil speaks in texts
        if not os.path.islink(place) and os.path.isdir(place):  # noqa: PTH112, PTH114
            os.chmod(place, stat.S_IRWXU)  # noqa: PTH101
    if os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114
        shutil.rmtree(path)
    else:
        os.unlink(path)  # noqa: PTH108
