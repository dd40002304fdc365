"""Rows of jobs that visitors follow: looked at for all of them together, and only while somebody follows."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api.schemas import JobModelDTO
from flows.errors import Unavailable, VisitorError, with_cause
from flows.jobs.job import Job
from flows.jobs.store import JobStore
from flows.waiting.cancelling import cancel
from flows.waiting.events import happens

logger = logging.getLogger(__name__)

INTERVAL = 0.3
"""Seconds between two looks."""

_AFTER_ERROR = 2.0
# The time of the last change alone, also of what visitors do not see, is no change to tell.
_VISIBLE = tuple(JobModelDTO.model_fields.keys() - {"updated_on"})


class TooManyOfUser(VisitorError):
    """The visitor follows as many jobs at once as they may."""


class TooManyStreams(Unavailable):
    """This process has as many followers as it takes."""


class Watched:
    """A job's row as it was when it was last looked at. Only that is kept, however slow its follower is."""

    def __init__(self, job: Job) -> None:
        self.job: Job | None = job
        self._changed = asyncio.Event()

    def update(self, job: Job | None) -> None:
        """Take the row as it is now; None when the job was deleted."""
        if job is None or self.job is None or _visible(job) != _visible(self.job):
            self.job = job
            self._changed.set()

    async def wait(self, seconds: float) -> None:
        """Return at the next change, or after so many seconds without one."""
        await happens(self._changed, within=seconds)
        self._changed.clear()


def _visible(job: Job) -> tuple[object, ...]:
    return tuple(getattr(job, name) for name in _VISIBLE)


class JobWatcher:
    """Everybody who follows a job in this process, and the one task that asks the database for them."""

    def __init__(self, store: JobStore, *, most: int, most_of_user: int) -> None:
        self._store = store
        self._most = most
        self._most_of_user = most_of_user
        self._watched: dict[Watched, Job] = {}
        self._of_user: Counter[str] = Counter()
        self._somebody = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["JobWatcher"]:
        """Look at the rows inside of the block."""
        task = asyncio.create_task(self._run())
        try:
            yield self
        finally:
            await cancel([task])

    def open(self, job: Job) -> Watched:
        """Follow the job for its submitter until ``close``; raise TooManyOfUser or TooManyStreams."""
        if self._of_user[job.submitter] >= self._most_of_user:
            raise TooManyOfUser(
                f"You follow {self._most_of_user} jobs at once already; close one of them first."
            )
        if len(self._watched) >= self._most:
            raise TooManyStreams(
                "Too many jobs are followed now; ask for the job itself, or try again later."
            )
        watched = Watched(job)
        self._watched[watched] = job
        self._of_user[job.submitter] += 1
        self._somebody.set()
        return watched

    def close(self, watched: Watched) -> None:
        """End what ``open`` began; harmless when it has ended."""
        job = self._watched.pop(watched, None)
        if job is None:
            return
        self._of_user[job.submitter] -= 1
        if not self._of_user[job.submitter]:
            del self._of_user[job.submitter]
        if not self._watched:
            self._somebody.clear()

    async def _run(self) -> None:
        answers = True
        while True:
            await self._somebody.wait()
            await asyncio.sleep(INTERVAL)
            try:
                await self._look()
            except Unavailable as error:
                if answers:
                    logger.warning("Whoever follows a job waits: %s", with_cause(error))
                answers = False
            except Exception:
                # Followers must not wait for ever because of one mistake.
                logger.exception("The jobs that are followed could not be looked at")
                await asyncio.sleep(_AFTER_ERROR)
            else:
                answers = True

    async def _look(self) -> None:
        asked_for = {watched: job.id for watched, job in self._watched.items() if watched.job is not None}
        if not asked_for:
            return
        found = {job.id: job for job in await self._store.by_ids(set(asked_for.values()))}
        for watched, job_id in asked_for.items():
            watched.update(found.get(job_id))
