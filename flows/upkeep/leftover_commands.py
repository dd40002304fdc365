"""Commands that schedulers keep though their jobs have ended or are gone."""

import asyncio
import uuid
from contextlib import suppress
from pathlib import Path

from flows.destinations.scheduler import Listing
from flows.disk.ownership import is_ours
from flows.errors import JobCancelled, unavailable_for_now
from flows.jobs.rules import is_settled
from flows.lifecycle.runtime import Runtime
from flows.local.commands import LocalCommands
from flows.upkeep.store import UpkeepStore

_LEFT = JobCancelled("The job of the command has ended.")


async def end_leftover_commands(runtime: Runtime) -> list[str]:
    """End and forget them; return their tokens.

    Only where the scheduler can list what it keeps, and where that was submitted for this database.
    """
    store = UpkeepStore(runtime.jobs.pool)
    if not await asyncio.to_thread(is_ours, runtime.place.data_dir, await store.installation()):
        return []
    ended = []
    for name in runtime.config.destinations:
        scheduler = runtime.destinations[name].scheduler
        if isinstance(scheduler, Listing):
            for token in await _without_job(store, await scheduler.tokens()):
                await scheduler.cancel(token)
                await scheduler.forget(token)
                ended.append(token)
    return ended + await _of_former_destinations(runtime, store)


async def forget_what_must_not_start(runtime: Runtime) -> None:
    """Forget commands that wait here for their start and whose jobs have ended while no worker was here.

    To be called before the schedulers are used, which start what waits. Raises Unavailable when it cannot be
    known now what there is.
    """
    store = UpkeepStore(runtime.jobs.pool)
    installation = await store.installation()
    with unavailable_for_now("The data directory cannot be used now"):
        if not await asyncio.to_thread(is_ours, runtime.place.data_dir, installation):
            return
        for directory in await asyncio.to_thread(_directories, runtime):
            commands = LocalCommands(directory)
            for token in await _without_job(store, await asyncio.to_thread(commands.waiting)):
                await asyncio.to_thread(commands.forget, token)


async def _of_former_destinations(runtime: Runtime, store: UpkeepStore) -> list[str]:
    """End what was started here for destinations that are not configured any more."""
    ended = []
    for directory in await asyncio.to_thread(_directories, runtime):
        if directory.name not in runtime.config.destinations:
            commands = LocalCommands(directory)
            for token in await _without_job(store, await asyncio.to_thread(commands.tokens)):
                await commands.end(token, _LEFT)
                await asyncio.to_thread(commands.forget, token)
                ended.append(token)
    return ended


async def _without_job(store: UpkeepStore, tokens: list[str]) -> list[str]:
    # A job's row is there before its command, so what was listed and has none never will.
    named = {}
    for token in tokens:
        with suppress(ValueError):
            named[uuid.UUID(token)] = token
    jobs = await store.by_tokens(named)
    return [token for key, token in named.items() if key not in jobs or is_settled(jobs[key])]


def _directories(runtime: Runtime) -> list[Path]:
    directory = runtime.place.commands
    return [path for path in directory.iterdir() if path.is_dir()] if directory.is_dir() else []
