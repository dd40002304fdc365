"""What interrupted processes left on the disk. Only what is proven ours and of no use is removed.

A name with the token of a job in our database is ours. In the data directory everything is, once it is
proven to be that of our database. A directory of jobs may be shared with another database, so what there has
no token is only reported.
"""

import asyncio
import logging
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from flows.disk import names
from flows.disk.ownership import OWNER, is_ours
from flows.disk.places import Place
from flows.disk.trees import remove_tree
from flows.jobs.job import Job
from flows.jobs.rules import is_settled, may_run_again
from flows.lifecycle.runtime import Runtime
from flows.upkeep.findings import Findings
from flows.upkeep.store import UpkeepStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Entry:
    path: Path
    key: str
    age: float


async def remove_leftovers(
    runtime: Runtime,
    findings: Findings,
    *,
    dry_run: bool,
    age: timedelta,
    age_of_uploads: timedelta,
    directories_without_job: bool,
) -> None:
    """Remove what was not touched for ``age``. The uploads of jobs that can be run again have another age."""
    store = UpkeepStore(runtime.jobs.pool)
    leftovers = _Leftovers(store, runtime.place, findings, dry_run, age.total_seconds())
    owned = await asyncio.to_thread(is_ours, runtime.place.data_dir, await store.installation())
    if not owned:
        findings.add(
            "data directory", runtime.place.data_dir, f"kept: its file {OWNER} names another database"
        )
    await leftovers.uploads(age_of_uploads.total_seconds(), owned=owned)
    await leftovers.results(owned=owned)
    await leftovers.hidden()
    await leftovers.without_job(remove=directories_without_job)


class _Leftovers:
    def __init__(
        self, store: UpkeepStore, place: Place, findings: Findings, dry_run: bool, age: float
    ) -> None:
        self._store = store
        self._place = place
        self._findings = findings
        self._dry_run = dry_run
        self._age = age

    async def uploads(self, age_to_run_again: float, *, owned: bool) -> None:
        entries = await self._old(self._place.uploads, names.UPLOAD)
        jobs = await self._store.by_tokens([uuid.UUID(entry.key) for entry in entries])
        for entry in entries:
            job = jobs.get(uuid.UUID(entry.key))
            if job is not None and may_run_again(job) and entry.age < age_to_run_again:
                continue
            if await self._is_of_no_use(job, owned):
                await self._remove("upload", entry.path)

    async def results(self, *, owned: bool) -> None:
        entries = await self._old(self._place.results, names.RESULTS)
        jobs = await self._store.by_flow_runs([uuid.UUID(entry.key) for entry in entries])
        for entry in entries:
            if await self._is_of_no_use(jobs.get(uuid.UUID(entry.key)), owned):
                await self._remove("results of a flow run", entry.path)

    async def hidden(self) -> None:
        entries = await self._old(self._place.job_root, names.HIDDEN)
        jobs = await self._store.by_tokens([uuid.UUID(entry.key) for entry in entries])
        for entry in entries:
            job = jobs.get(uuid.UUID(entry.key))
            if job is None:
                self._findings.add("hidden directory", entry.path, "kept: of no job in this database")
            elif is_settled(job):
                await self._remove("hidden directory", entry.path)
        for entry in await self._old(self._place.job_root, names.ASIDE):
            self._findings.add("directory set aside", entry.path, "kept: look whether anybody needs it")

    async def without_job(self, *, remove: bool) -> None:
        entries = await self._old(self._place.job_root, names.OF_JOB)
        jobs = await self._store.with_ids([int(entry.key) for entry in entries])
        for entry in entries:
            if int(entry.key) in jobs:
                continue
            if remove:
                await self._remove("directory without job", entry.path)
            else:
                self._findings.add("directory without job", entry.path, "kept: perhaps of another database")

    async def _is_of_no_use(self, job: Job | None, owned: bool) -> bool:
        return owned if job is None else is_settled(job)

    async def _old(self, directory: Path, pattern: re.Pattern[str]) -> list[_Entry]:
        entries = await asyncio.to_thread(lambda: list(_entries(directory, pattern)))
        return [entry for entry in entries if entry.age >= self._age]

    async def _remove(self, what: str, path: Path) -> None:
        if self._dry_run:
            self._findings.add(what, path, "would be removed")
            return
        try:
            await asyncio.to_thread(_remove, path)
        except OSError as error:
            logger.exception("%s cannot be removed", path)
            self._findings.add(what, path, f"kept: cannot be removed ({error.strerror})")
        else:
            self._findings.add(what, path, "removed")


def _entries(directory: Path, pattern: re.Pattern[str]) -> Iterator[_Entry]:
    now = time.time()
    with suppress(FileNotFoundError), os.scandir(directory) as found:
        for entry in found:
            if (key := names.key(pattern, entry.name)) is not None:
                with suppress(FileNotFoundError):  # gone meanwhile
                    status = entry.stat(follow_symlinks=False)
                    # A moved directory keeps the time of its change, but not that of its name.
                    yield _Entry(Path(entry.path), key, now - max(status.st_mtime, status.st_ctime))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)
