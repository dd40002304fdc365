"""Destinations as they run: a scheduler and a filesystem each."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from flows import config, filesystems, schedulers
from flows.disk.places import Place
from flows.errors import Unavailable
from flows.filesystems import Filesystem
from flows.schedulers import Scheduler
from flows.ssh.connections import Connections
from flows.surroundings import Surroundings


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a job's command runs and how its files get there."""

    scheduler: Scheduler
    filesystem: Filesystem


class Destinations:
    """All configured destinations, closed together."""

    def __init__(self, configured: Mapping[str, config.Destination], place: Place) -> None:
        self._connections = Connections()
        self._destinations = {
            name: Destination(
                schedulers.create(destination.scheduler, surroundings),
                filesystems.create(destination.filesystem, surroundings),
            )
            for name, destination in configured.items()
            for surroundings in [Surroundings(place, name, self._connections)]
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
