"""Tells by the route that the embedded Prefect server has: one request for up to 100 runs."""

import base64
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import httpx

from deployments.recording import wire
from deployments.recording.halving import in_halves
from deployments.recording.reports import Answer, RunReport
from deployments.recording.wire import PATH, Batch
from flows.errors import Refused, Unavailable
from flows.prefect_api import unavailable_when_prefect_is_away

ANSWER_SECONDS = 30.0

_NONE_HERE = {404, 405, 501}


class NoRoute(Refused):
    """The server has no route, or other tables than those that we know; the text says which."""


class RouteRecorder:
    """The recorder where the Prefect server is ours.

    ``flow``, ``deployment`` and ``results`` are names in Prefect; ``register`` makes those that are missing.
    """

    def __init__(
        self,
        api_url: str,
        login: str | None,
        *,
        flow: str,
        deployment: str,
        results: str,
        register: Callable[[], Awaitable[object]],
    ) -> None:
        self._names = {"flow": flow, "deployment": deployment, "results": results}
        self._register = register
        self._url = api_url.rstrip("/") + PATH
        headers = {"Content-Type": "application/json"}
        if login is not None:
            headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        self._http = httpx.AsyncClient(
            headers=headers, timeout=ANSWER_SECONDS, limits=httpx.Limits(max_connections=2)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def check(self) -> None:
        """Raise NoRoute where the server has none, Unavailable or Refused as ``record`` does."""
        response = await self._http_call("GET", None)
        if response.status_code in _NONE_HERE:
            raise _no_route(response)

    async def record(self, reports: Sequence[RunReport]) -> Sequence[Answer]:
        if not reports:
            return []
        try:
            body = wire.encode(self._batch(reports))
        except ValueError as error:
            return await in_halves(reports, str(error), self.record)
        response = await self._http_call("POST", body)
        match response.status_code:
            case 200:
                return self._answers(response, reports)
            case 409:
                await self._register()
                raise Unavailable("The Prefect server did not know the flow of jobs.")
            case 413 | 422:
                return await in_halves(reports, response.text, self.record)
        raise _no_route(response)

    def _batch(self, reports: Sequence[RunReport]) -> Batch:
        return Batch(**self._names, sent_on=datetime.now(UTC), runs=tuple(reports))

    def _answers(self, response: httpx.Response, reports: Sequence[RunReport]) -> list[Answer]:
        try:
            return wire.decode_answers(response.content, reports)
        except ValueError as error:
            raise Refused("What answers at PREFECT_API_URL is not our Prefect server.") from error

    async def _http_call(self, method: str, body: bytes | None) -> httpx.Response:
        """Return an answer that is about the call itself."""
        try:
            with unavailable_when_prefect_is_away():
                response = await self._http.request(method, self._url, content=body)
                if response.status_code not in {409, 413, 422, *_NONE_HERE}:
                    response.raise_for_status()
        except httpx.HTTPStatusError as error:
            raise Refused("What answers at PREFECT_API_URL is not our Prefect server.") from error
        return response


def _no_route(response: httpx.Response) -> NoRoute:
    return NoRoute(response.text if response.status_code == 501 else "the server has no route for reports.")
