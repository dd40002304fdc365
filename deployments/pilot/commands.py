"""The commands that a pilot runs: as a worker runs those of its own machine, each with its own time limit."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from flows.destinations.surroundings import Surroundings
from flows.disk.places import Place
from flows.errors import JobCancelled, JobFailure, unavailable_for_now
from flows.local.commands import LocalCommands
from flows.local.kept import Kept
from flows.local.scheduling import LocalScheduler
from flows.pilots.orders import Order
from flows.pilots.rest import PrefectRest
from flows.ssh.connections import Connections

_NEVER_BEGAN = JobCancelled("The command had not begun when its pilot ended.")

_VARIABLES_SECONDS = 60.0
"""For which the variables of a block are used before they are read again."""


class PilotCommands(LocalScheduler):
    """As many at once as it is given: the pilot counts them. What runs is adopted by the next start."""

    def __init__(self, directory: Path, pool: str, rest: PrefectRest) -> None:
        place = Place(directory, directory, worker="pilot")
        super().__init__(Surroundings(place, pool, Connections()), slots=float("inf"))
        self._kept = LocalCommands(place.commands / pool)
        self._rest = rest
        self._orders: dict[str, Order] = {}
        self._before_they_start: dict[str, Callable[[], Awaitable[None]]] = {}
        self._variables: dict[str, tuple[float, Mapping[str, str]]] = {}

    async def keep_from_starting(self) -> None:
        """Let nothing start that had not started when the pilot before us ended; to be called first.

        Whether it is still ours has to be asked before.
        """
        with unavailable_for_now("The commands of before cannot be read"):
            for token in await asyncio.to_thread(self._kept.waiting):
                await self._kept.end(token, _NEVER_BEGAN)
            for token in await asyncio.to_thread(self._kept.tokens):
                if _never_began(await asyncio.to_thread(self._kept.read, token)):
                    await asyncio.to_thread(self._kept.forget, token)

    async def has(self, token: str) -> bool:
        """Whether the command was started here."""
        with unavailable_for_now("The command cannot be read"):
            found = await asyncio.to_thread(self._kept.read, token)
        return found is not None and found.has_started

    async def knows(self, token: str) -> bool:
        """Whether the command was submitted here, started or not."""
        with unavailable_for_now("The command cannot be read"):
            return await asyncio.to_thread(self._kept.read, token) is not None

    def expect(self, token: str, order: Order, before_it_starts: Callable[[], Awaitable[None]]) -> None:
        """Know the order of a command that is about to be submitted, or goes on.

        ``before_it_starts`` is awaited right before each try to start it, which it may end instead.
        """
        self._orders[token] = order
        self._before_they_start[token] = before_it_starts

    async def end(self, token: str, failure: JobFailure) -> None:
        """End a command; this is how it ended then, unless it had ended before."""
        with unavailable_for_now("The command cannot be ended now"):
            await self._end(token, failure)

    async def forget(self, scheduler_id: str) -> None:
        await super().forget(scheduler_id)
        self._orders.pop(scheduler_id, None)
        self._before_they_start.pop(scheduler_id, None)

    async def time_limit(self, token: str) -> float | None:
        order = self._orders.get(token)
        return None if order is None else order.time_limit

    async def variables(self, token: str) -> Mapping[str, str]:
        order, before_it_starts = self._orders.get(token), self._before_they_start.get(token)
        variables = {} if order is None else await self._variables_of(order)
        if before_it_starts is not None:
            await before_it_starts()  # last: Prefect may have been away, or the machine short of processes
        return variables

    async def _variables_of(self, order: Order) -> Mapping[str, str]:
        if order.environment is None:
            return {}
        read_at, variables = self._variables.get(order.environment, (-_VARIABLES_SECONDS, {}))
        if time.monotonic() - read_at > _VARIABLES_SECONDS:
            variables = await self._rest.variables(order.environment)
            self._variables[order.environment] = time.monotonic(), variables
        return variables


def _never_began(found: Kept | None) -> bool:
    """Whether a command was kept from starting, by this start of the pilot or by one that was interrupted."""
    return found is not None and found.process == (0, 0) and str(found.ending) == str(_NEVER_BEGAN)
