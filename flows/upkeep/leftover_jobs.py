"""Jobs that clusters keep though our job of them has ended or is gone.

Whoever uses the same account of a cluster has jobs there, perhaps another database of ours too. So only what
is proven ours is ended: the token in its name is of a job in our database, or its name has our installation.
"""

import uuid
from collections.abc import AsyncIterator
from contextlib import suppress

from flows.destinations.scheduler import Listed, Shared
from flows.errors import Unavailable
from flows.jobs.rules import is_settled
from flows.lifecycle.runtime import Runtime
from flows.upkeep.findings import Findings
from flows.upkeep.store import UpkeepStore

WHAT = "cluster's job without a job under way"


async def end_leftover_jobs(runtime: Runtime, findings: Findings, *, dry_run: bool = False) -> None:
    """Have clusters end them. A cluster that is away is asked by the next run."""
    store = UpkeepStore(runtime.jobs.pool)
    seen: set[str] = set()
    async for name, scheduler, listed in _listings(runtime, findings):
        # Destinations can be on one cluster: each then lists the jobs of all.
        left = [job for job in await _without_job(store, listed) if job.token not in seen]
        seen |= {job.token for job in left}
        action = "would be cancelled" if dry_run else "cancelled"
        try:
            if left and not dry_run:
                await scheduler.end([job.scheduler_id for job in left])
        except Unavailable as error:
            action = f"kept, as it cannot be cancelled now: {error}"
        for job in left:
            findings.add(WHAT, f"{job.scheduler_id} at {name} ({job.token})", action)


async def _listings(runtime: Runtime, findings: Findings) -> AsyncIterator[tuple[str, Shared, list[Listed]]]:
    for name in runtime.config.destinations:
        scheduler = runtime.destinations[name].scheduler
        if isinstance(scheduler, Shared):
            try:
                listed = await scheduler.under_way()
            except Unavailable as error:
                findings.add("destination", name, f"cannot be asked for its jobs now: {error}")
            else:
                yield name, scheduler, listed


async def _without_job(store: UpkeepStore, listed: list[Listed]) -> list[Listed]:
    # A job's row is there before it is submitted, so what was listed and has none never will.
    named = []
    for found in listed:
        with suppress(ValueError):
            named.append((uuid.UUID(found.token), found))
    jobs = await store.by_tokens({token for token, _ in named})
    installation = str(await store.installation())
    return [
        found
        for token, found in named
        if (is_settled(jobs[token]) if token in jobs else found.installation == installation)
    ]
