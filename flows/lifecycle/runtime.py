"""What the tasks of all flow runs in this process share: they take plain values and find the rest here."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

from flows import pickers
from flows.configuration.config import Config
from flows.database.pool import Pool
from flows.destinations.filesystem import Filesystem
from flows.destinations.scheduler import Scheduler
from flows.destinations.surroundings import Surroundings
from flows.disk.durability import DurableDisk
from flows.disk.places import Place
from flows.errors import Unavailable
from flows.jobs.end_requests import EndRequests
from flows.jobs.owned import OwnedJobs
from flows.jobs.question_turns import QuestionTurns
from flows.lifecycle.conditions import Conditions
from flows.ssh.connections import Connections


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a job's command runs and how its files get there."""

    scheduler: Scheduler
    filesystem: Filesystem


class Destinations:
    """All configured destinations, closed together."""

    def __init__(self, config: Config, place: Place, pool: Pool) -> None:
        self._connections = Connections()
        self._destinations = {
            name: Destination(
                destination.scheduler.make(surroundings),
                destination.filesystem.make(surroundings),
            )
            for name, destination in config.destinations.items()
            for surroundings in [
                Surroundings(
                    place,
                    name,
                    self._connections,
                    destination.filesystem.type_name,
                    QuestionTurns(pool, name),
                )
            ]
        }

    def __getitem__(self, name: str) -> Destination:
        """Raise Unavailable when no destination of that name is configured any more: it may be again."""
        try:
            return self._destinations[name]
        except KeyError:
            text = f"The destination {name} is not configured any more; tell the operator."
            raise Unavailable(text) from None

    async def check(self, name: str) -> None:
        """Raise Unavailable with what is wrong with a destination."""
        destination = self[name]
        await asyncio.gather(destination.scheduler.check(), destination.filesystem.check())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        parts = [part for d in self._destinations.values() for part in (d.scheduler, d.filesystem)]
        await asyncio.gather(*(part.close() for part in parts))
        await self._connections.close()


@dataclass(frozen=True, slots=True)
class Runtime:
    """``cancelled`` are the ids of jobs whose flow runs are being cancelled on purpose.

    ``beginning`` are the ids of jobs that this process owns and still prepares.

    ``superseded`` is set when another worker runs jobs of this one, which then must let go of all. ``disk``
    is that of the jobs' directories, ``conditions`` are those of the destinations.
    """

    jobs: OwnedJobs
    config: Config
    place: Place
    picker: pickers.Picker
    destinations: Destinations
    disk: DurableDisk
    conditions: Conditions
    cancelled: set[int] = field(default_factory=set)
    beginning: set[int] = field(default_factory=set)
    superseded: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def end_requests(self) -> EndRequests:
        """What visitors want to end; on the connections of ``jobs``."""
        return EndRequests(self.jobs.pool)

    @property
    def local_destinations(self) -> list[str]:
        """Those whose commands only workers of one machine see."""
        destinations = self.config.destinations.items()
        return [name for name, one in destinations if one.scheduler.implementation.commands_are_here]


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
        async with Destinations(config, place, jobs.pool) as destinations:
            conditions = Conditions(jobs.pool, config.destinations, place.worker)
            disk = DurableDisk(place.job_root)
            _current = Runtime(jobs, config, place, picker, destinations, disk, conditions)
            yield _current
    finally:
        _current = None
