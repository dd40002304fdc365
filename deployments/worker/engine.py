"""Runs the scheduled flows in this process's event loop, by Prefect's own engine, and waits for its server.

The stock engine starts a thread, an event loop and a websocket for each flow run of a deployment to watch for
its suspension, and one more thread for heartbeats; and it gives a run up where the server is away.
"""

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

DELAYS = Delays(0.25, longest=5.0)
"""While the Prefect server is away."""

MOST_ERRORS = 3
"""That a Prefect server which is well may answer a call with; for each, its client asks several times."""


class PatientClient(PrefectClient):
    """Waits for a server that is away: what runs here does not depend on it once it has begun."""

    def __init__(self) -> None:
        url = PREFECT_API_URL.value()
        if url is None:
            raise ValueError("PREFECT_API_URL is not set")
        super().__init__(url, auth_string=PREFECT_API_AUTH_STRING.value(), api_key=PREFECT_API_KEY.value())
        self.muted = False
        self.silenced: set[UUID] = set()
        """Flow runs that others say the state of: what the engine says is not sent."""

    async def read_flow_run(self, flow_run_id: UUID) -> FlowRun:
        read = super().read_flow_run

        async def once() -> FlowRun:
            with unavailable_when_prefect_is_away():
                return await read(flow_run_id)

        return await patiently(once, delays=DELAYS)

    async def update_flow_run(self, flow_run_id: UUID, *args: Any, **kwargs: Any) -> httpx.Response:
        """Skip what the engine writes before each run, and would not wait with: the deployment has set it."""
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
            with unavailable_when_prefect_is_away():
                try:
                    return await tell(flow_run_id, state, force)
                except httpx.HTTPStatusError as error:
                    errors += 1
                    if errors < MOST_ERRORS or not await never_takes(self, error):
                        raise
                    raise NeverTaken("The Prefect server cannot keep this state of a flow run.") from error

        return await patiently(once, delays=DELAYS)


class PatientClientContext(AsyncClientContext):
    """Makes every flow run in the context use one PatientClient."""

    client: PatientClient

    def __init__(self) -> None:
        ContextModel.__init__(self, client=PatientClient())
        self._httpx_settings = None
        self._context_stack = 0


class _Engine(AsyncFlowRunEngine[Any, Any]):
    @contextmanager
    def setup_flow_run_suspension_request(self) -> Generator[FlowRunSuspensionRequest, None, None]:
        """Watch nothing: cancelling is the worker's."""
        yield self._get_flow_run_suspension_request()


async def run_in_loop(flow: Flow[Any, Any], flow_run: FlowRun, parameters: dict[str, Any]) -> State[Any]:
    """Run a flow run to its end and return its final state.

    A flow that raises ends Failed. Raises prefect.exceptions.Abort when the server does not let it run.
    """
    engine = _Engine(flow=flow, parameters=parameters, flow_run=flow_run)
    async with engine.start():
        while engine.is_running():
            async with engine.run_context():
                await engine.call_flow_fn()  # type: ignore[unused-coroutine]
    return engine.state
