"""Runs for orders, made with few calls."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from flows.destinations.polling import Batcher
from flows.errors import DestinationRefused, Unavailable, one_line
from flows.pilots import pool, words
from flows.pilots.orders import LARGEST, Order
from flows.pilots.rest import BULK, NotFound, PrefectRest

_SPACING = 0.05
"""Seconds between two calls: those who submit meanwhile share the next one."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A run to be made. ``order`` is None for one that only keeps another of its token from coming to be."""

    token: str
    order: Order | None
    name: str = ""
    tags: tuple[str, ...] = ()

    @property
    def request(self) -> dict[str, Any]:
        """What Prefect is asked for. There is one run of a token, ever, as long as it is not deleted."""
        request: dict[str, Any] = {"idempotency_key": self.token, "enforce_parameter_schema": False}
        if self.order is None:
            return {**request, "name": f"cancelled-{self.token}", "state": words.cancelled()}
        return {**request, "name": self.name, "tags": list(self.tags), "parameters": self.order.parameters()}


class Runs:
    """Makes runs of the deployment of one work pool."""

    def __init__(self, rest: PrefectRest, pool_name: str) -> None:
        self._rest = rest
        self._pool = pool_name
        self._deployment: str | None = None
        self._batcher: Batcher[Wanted, str] = Batcher(self._make, _SPACING)

    async def deployment(self) -> str:
        """Return the id of the deployment. Raises Unavailable, and Refused where an operator has to help."""
        if self._deployment is None:
            self._deployment = await pool.deployment(self._rest, self._pool)
        return self._deployment

    def doubt(self) -> None:
        """Look the deployment up anew before the next use."""
        self._deployment = None

    async def make(self, wanted: Wanted) -> str:
        """Return the id of the token's run, whoever asked for it first.

        Raises DestinationRefused for what Prefect cannot keep, and Unavailable.
        """
        if wanted.order is not None and wanted.order.size > LARGEST:
            raise DestinationRefused(
                f"The command is longer than the {LARGEST} bytes that a pilot can be told; put a part of it "
                "into a file of the upload."
            )
        return await self._batcher.answer(wanted, within=0)

    async def _make(self, wanted: Collection[Wanted]) -> Mapping[Wanted, str]:
        made: dict[Wanted, str] = {}
        rest = iter(wanted)
        while batch := list(islice(rest, BULK)):
            path = f"/deployments/{await self.deployment()}/create_flow_run/bulk"
            try:
                answer = await self._rest.ask("POST", path, [one.request for one in batch])
            except NotFound as error:
                self.doubt()
                raise Unavailable(
                    "The deployment of the pilots' commands is gone; it is made anew."
                ) from error
            for one, result in zip(batch, answer["results"], strict=True):
                if result["status"] == "FAILED":
                    raise Unavailable(f"Prefect makes no run of a command: {one_line(result['error'])}")
                made[one] = result["flow_run_id"]
        return made

    async def close(self) -> None:
        """Make no more."""
        await self._batcher.close()
