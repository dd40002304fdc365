"""What the tasks of all flow runs in this process share: they take plain values and find the rest here."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine

from flows import pickers
from flows.config import Config
from flows.destinations import Destinations
from flows.places import Place
from flows.store import JobStore


@dataclass(frozen=True, slots=True)
class Runtime:
    """``cancelled`` are the ids of jobs whose flow runs are being cancelled on purpose."""

    jobs: JobStore
    config: Config
    place: Place
    picker: pickers.Picker
    destinations: Destinations
    cancelled: set[int] = field(default_factory=set)


_current: Runtime | None = None


def current() -> Runtime:
    """Return the runtime that is open in this process; RuntimeError when none is."""
    if _current is None:
        raise RuntimeError("run_job runs in a Bartender worker only: start one with `bartender worker`")
    return _current


@asynccontextmanager
async def open_runtime(
    database: URL, config: Config, place: Place, picker: pickers.Picker, *, echo: bool = False
) -> AsyncIterator[Runtime]:
    """Open the process's one runtime and close what it holds."""
    global _current
    # Enough connections for the bursts of short transactions that thousands of jobs make.
    engine = create_async_engine(database, echo=echo, pool_size=10, max_overflow=10)
    try:
        async with Destinations(config.destinations, place) as destinations:
            _current = Runtime(JobStore(engine), config, place, picker, destinations)
            yield _current
    finally:
        _current = None
        await engine.dispose()
