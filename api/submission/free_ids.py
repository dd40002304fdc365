"""Ids of new jobs. A directory can be there before its job: the database may be new, or an older copy.

Its files are somebody else's, so no job gets its number.
"""

import os
from collections.abc import Awaitable, Callable

from flows.disk.places import Place
from flows.jobs.store import JobStore

InThread = Callable[..., Awaitable[int]]


async def free_id(store: JobStore, place: Place, in_thread: InThread) -> int:
    """Return an id that no job has or will have, and no directory."""
    job_id = await store.next_id()
    while (taken := await in_thread(_taken, place, job_id)) > 0:
        job_id = await store.next_id(skip=taken - 1)
    return job_id


def _taken(place: Place, job_id: int) -> int:
    """Return how many ids have directories, from this one on without a gap."""
    if not os.path.lexists(place.job_dir(job_id)):
        return 0
    names = [path.name for path in place.job_root.iterdir()]
    numbers = {int(name) for name in names if name.isascii() and name.isdigit()}
    taken = 1
    while job_id + taken in numbers:
        taken += 1
    return taken
