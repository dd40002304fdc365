"""Directories that other machines keep of jobs that have ended or are gone.

Another database of ours may have its jobs in the same directory, and no name there says whose it is. So only
what has the token of a job in our database is removed, unless an operator says that there is no other.
"""

import time
import uuid
from datetime import timedelta

from flows.destinations.filesystem import Stored, Storing
from flows.errors import StagingFailed, Unavailable
from flows.jobs.rules import is_settled
from flows.lifecycle.runtime import Runtime
from flows.upkeep.findings import Findings
from flows.upkeep.store import UpkeepStore

WHAT = "directory at a destination"


async def remove_leftover_directories(
    runtime: Runtime, findings: Findings, *, dry_run: bool, age: timedelta, directories_without_job: bool
) -> None:
    """Remove what was not touched for ``age``. A destination that is away is asked by the next run."""
    seen: set[str] = set()
    for name in runtime.config.destinations:
        filesystem = runtime.destinations[name].filesystem
        if not isinstance(filesystem, Storing):
            continue
        try:
            before = time.time() - age.total_seconds()
            stored = [one for one in await filesystem.stored() if one.changed <= before]
            # Destinations can have one directory: each then lists all of it.
            stored = [one for one in stored if one.token not in seen]
            seen |= {one.token for one in stored}
            doomed = await _doomed(runtime, findings, name, stored, without_job=directories_without_job)
            if dry_run:
                for token in doomed:
                    findings.add(WHAT, f"{token} at {name}", "would be removed")
            elif doomed:
                await _remove(runtime, findings, name, filesystem, doomed)
        except (Unavailable, StagingFailed) as error:
            findings.add("destination", name, f"cannot be asked for its directories now: {error}")


async def _doomed(
    runtime: Runtime, findings: Findings, name: str, stored: list[Stored], *, without_job: bool
) -> list[str]:
    jobs = await UpkeepStore(runtime.jobs.pool).by_tokens([uuid.UUID(one.token) for one in stored])
    doomed = []
    for one in stored:
        job = jobs.get(uuid.UUID(one.token))
        if job is None and not without_job:
            findings.add(WHAT, f"{one.token} at {name}", "kept: of no job in this database")
        elif job is None or is_settled(job):
            doomed.append(one.token)
    return doomed


async def _remove(
    runtime: Runtime, findings: Findings, name: str, filesystem: Storing, tokens: list[str]
) -> None:
    for token in tokens:
        await filesystem.remove(runtime.place.job_root / token, token)
    # Filesystems do not raise for what they cannot remove, as jobs must not wait for that.
    left = {one.token for one in await filesystem.stored()}
    for token in tokens:
        action = "kept: cannot be removed, see the worker's log" if token in left else "removed"
        findings.add(WHAT, f"{token} at {name}", action)
