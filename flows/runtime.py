"""What the tasks of all flow runs in this process share: they take plain values and find the rest here."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from flows import pickers
from flows.config import Config
from flows.destinations import Destinations
from flows.disk.durability import DurableDisk
from flows.disk.places import Place
from flows.local_scheduler import LocalConfig
from flows.owned_jobs import OwnedJobs


@dataclass(frozen=True, slots=True)
class Runtime:
    """``cancelled`` are the ids of jobs whose flow runs are being cancelled on purpose.

    ``beginning`` are the ids of jobs that this process owns and still prepares.

    ``superseded`` is set when another worker runs jobs of this one, which then must let go of all. ``disk``
    is that of the jobs' directories.
    """

    jobs: OwnedJobs
    config: Config
    place: Place
    picker: pickers.Picker
    destinations: Destinations
    disk: DurableDisk
    cancelled: set[int] = field(default_factory=set)
    beginning: set[int] = field(default_factory=set)
    superseded: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def local_destinations(self) -> list[str]:
        """Those whose commands only workers of one machine see."""
        destinations = self.config.destinations.items()
        return [name for name, part in destinations if isinstance(part.scheduler, LocalConfig)]


_current: Runtime | None = None


def current() -> Runtime:
    """Return the runtime that is open in this process; RuntimeError when none is."""
    if _current is None:
        raise RuntimeError("run_job runs in a Bartender worker only: start one with `bartender worker`")
    return _current


@asynccontextmanager
async def open_runtime(
    jobs: OwnedJobs, config: Config, place: Place, picker: pickers.Picker
) -> AsyncIterator[Runtime]:
    """Open the process's one runtime and close what it holds."""
    global _current
    try:
        async with Destinations(config.destinations, place) as destinations:
            _current = Runtime(jobs, config, place, picker, destinations, DurableDisk(place.job_root))
            yield _current
    finally:
        _current = None
