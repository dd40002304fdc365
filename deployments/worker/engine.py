"""Runs flow runs in this process's event loop, at as few calls to the Prefect server as they can do with.

The server is one process that spends about 10 ms on each call, so calls are what limits jobs per second
(docs/performance.md). What is spared here:

- the stock engine starts a thread, an event loop and a websocket per flow run of a deployment to watch for
  its suspension, and one more thread for heartbeats;
- it writes back what it has read, and reads again what it has written;
- it sends every state of every task run at once, though most of them last for milliseconds.
"""

import asyncio
import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import httpx
from prefect._flow_run_suspension import FlowRunSuspensionRequest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import OrchestrationResult, SetStateStatus, StateAcceptDetails
from prefect.context import AsyncClientContext, ContextModel
from prefect.flow_engine import AsyncFlowRunEngine
from prefect.flows import Flow
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY, PREFECT_API_URL

from flows.errors import NeverTaken
from flows.prefect_api import never_takes, unavailable_when_prefect_is_away
from flows.waiting.patience import Delays, patiently

logger = logging.getLogger(__name__)

CONCURRENT_CALLS = 8
"""More than this many at once only make each of them wait in the server."""

DELAYS = Delays(0.25, longest=5.0)
"""While the Prefect server is away."""

MOST_ERRORS = 3
"""That a Prefect server which is well may answer a call with; for each, its client asks several times."""


class LeanClient(PrefectClient):
    """Makes only the calls that tell the server something, and waits for a server that is away.

    Jobs do not depend on the Prefect server once they have started, so neither do their flow runs.
    """

    def __init__(self) -> None:
        url = PREFECT_API_URL.value()
        if url is None:
            raise ValueError("PREFECT_API_URL is not set")
        super().__init__(url, auth_string=PREFECT_API_AUTH_STRING.value(), api_key=PREFECT_API_KEY.value())
        self._calls = asyncio.Semaphore(CONCURRENT_CALLS)
        self._held: dict[UUID, FlowRun] = {}
        self.muted = False
        self.silenced: set[UUID] = set()
        """Flow runs that others say the state of: what the engine says is not sent."""

    def hold(self, flow_run: FlowRun) -> None:
        """Answer the next read of this flow run by this object: it is up to date."""
        self._held[flow_run.id] = flow_run

    def release(self, flow_run_id: UUID) -> None:
        """Forget a flow run that was not read after all."""
        self._held.pop(flow_run_id, None)

    async def read_flow_run(self, flow_run_id: UUID) -> FlowRun:
        if (held := self._held.pop(flow_run_id, None)) is not None:
            return held
        read = super().read_flow_run

        async def once() -> FlowRun:
            with unavailable_when_prefect_is_away():
                return await read(flow_run_id)

        return await patiently(once, delays=DELAYS)

    async def update_flow_run(self, flow_run_id: UUID, *args: Any, **kwargs: Any) -> httpx.Response:
        """Skip what the engine writes before each run: the deployment has set it."""
        if set(kwargs) <= {"flow_version", "empirical_policy"} and not args:
            return httpx.Response(204)
        return await super().update_flow_run(flow_run_id, *args, **kwargs)

    async def set_flow_run_state(
        self, flow_run_id: UUID | str, state: State[Any], force: bool = False
    ) -> OrchestrationResult[Any]:
        """Wait for the server as long as it takes; say nothing when muted.

        Raises NeverTaken when the server is well, but can never keep this.
        """
        tell = super().set_flow_run_state
        errors = 0

        async def once() -> OrchestrationResult[Any]:
            nonlocal errors
            if self.muted or flow_run_id in self.silenced:
                details = StateAcceptDetails()
                return OrchestrationResult(state=state, status=SetStateStatus.ACCEPT, details=details)
            async with self._calls:
                with unavailable_when_prefect_is_away():
                    try:
                        return await tell(flow_run_id, state, force)
                    except httpx.HTTPStatusError as error:
                        errors += 1
                        if errors < MOST_ERRORS or not await never_takes(self, error):
                            raise
                        raise NeverTaken(
                            "The Prefect server cannot keep this state of a flow run."
                        ) from error

        return await patiently(once, delays=DELAYS)


class LeanClientContext(AsyncClientContext):
    """Makes every flow run in the context use one LeanClient."""

    client: LeanClient

    def __init__(self) -> None:
        ContextModel.__init__(self, client=LeanClient())
        self._httpx_settings = None
        self._context_stack = 0


class _JobFlowRunEngine(AsyncFlowRunEngine[Any, Any]):
    @contextmanager
    def setup_flow_run_suspension_request(self) -> Generator[FlowRunSuspensionRequest, None, None]:
        """Watch nothing: a job that waits costs nothing, and cancelling is the worker's."""
        yield self._get_flow_run_suspension_request()

    async def set_state(self, state: State[Any], force: bool = False) -> State[Any]:
        new_state = await super().set_state(state, force=force)
        if new_state.is_running() and self.flow_run is not None and isinstance(self.client, LeanClient):
            self.flow_run.run_count += 1
            self.client.hold(self.flow_run)
        return new_state


async def run_in_loop(flow: Flow[Any, Any], flow_run: FlowRun, parameters: dict[str, Any]) -> State[Any]:
    """Run a flow run to its end and return its final state.

    A flow that raises ends Failed. Raises prefect.exceptions.Abort when the server does not let it run.
    """
    engine = _JobFlowRunEngine(flow=flow, parameters=parameters, flow_run=flow_run)
    try:
        async with engine.start():
            while engine.is_running():
                async with engine.run_context():
                    await engine.call_flow_fn()  # type: ignore[unused-coroutine]
        return engine.state
    finally:
        client = AsyncClientContext.get()
        if client is not None and isinstance(client.client, LeanClient):
            client.client.release(flow_run.id)


__all__ = ["LeanClient", "LeanClientContext", "run_in_loop"]
