"""Which recorder a worker has: the route where the Prefect server has it, else Prefect's public API."""

import logging
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.responses import DeploymentResponse

from deployments.recording.by_rest import RestRecorder
from deployments.recording.by_route import NoRoute, RouteRecorder
from deployments.recording.reports import Answer, Recorder, RunReport
from deployments.registration.deploy import deployment_id
from deployments.registration.names import DEPLOYMENT, RESULTS_BLOCK
from flows.lifecycle.flow_run import FLOW

logger = logging.getLogger(__name__)


class ChosenRecorder:
    """Finds out at the first report what the server takes, and anew when it takes that no more."""

    def __init__(self, route: RouteRecorder | None, rest: RestRecorder) -> None:
        self._route = route
        self._rest = rest
        self._chosen: Recorder | None = None

    async def record(self, reports: Sequence[RunReport]) -> Sequence[Answer]:
        try:
            return await (await self._choose()).record(reports)
        except NoRoute:
            self._chosen = None
            return await (await self._choose()).record(reports)

    def results_are_in(self, block: uuid.UUID) -> None:
        """Name the block that keeps what steps return."""
        self._rest.results_are_in(block)

    async def has_route(self) -> bool:
        """Whether it is the route. Raises Unavailable or Refused as ``record`` does."""
        return await self._choose() is self._route

    async def _choose(self) -> Recorder:
        if self._chosen is None:
            self._chosen = await self._which()
        return self._chosen

    async def _which(self) -> Recorder:
        if self._route is None:
            return self._rest
        try:
            await self._route.check()
        except NoRoute as error:
            logger.warning("Runs are told by Prefect's public API, which costs it far more: %s", error)
            return self._rest
        return self._route


@asynccontextmanager
async def open_recorder(
    client: PrefectClient, login: str | None, *, results: uuid.UUID | None = None, by_route: bool
) -> AsyncIterator[ChosenRecorder]:
    """Give the recorder of a worker. ``by_route``: whether it may be the route.

    ``results`` is the block that keeps what steps return, where that is known already.
    """

    async def deployment() -> DeploymentResponse:
        return await client.read_deployment(await deployment_id(client))

    rest = RestRecorder(client, deployment, results)
    if not by_route:
        yield ChosenRecorder(None, rest)
        return
    route = RouteRecorder(
        str(client.api_url),
        login,
        flow=FLOW,
        deployment=DEPLOYMENT,
        results=RESULTS_BLOCK,
        register=deployment,
    )
    async with route:
        yield ChosenRecorder(route, rest)
