"""Prefect's server with a route of ours in front: `create_app` is what `bartender serve` runs."""

import base64
import hmac
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from prefect.settings import PREFECT_SERVER_API_AUTH_STRING

from deployments.recording import wire
from deployments.recording.reports import RunReport, StateReport
from deployments.recording.route import tables
from deployments.recording.route.delivery import Delivery, Undelivered
from deployments.recording.route.writing import NoDeployment, Writer, connection
from deployments.recording.wire import MOST_BYTES, PATH, Batch

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_PATH = f"/api{PATH}"

CLOCKS_AGREE = timedelta(seconds=2)
"""Of a worker's clock that differs by less, what it tells is taken as it is: it was under way for a while."""


def create_app() -> App:
    """Return Prefect's application with the route beside it."""
    from prefect.server.api.server import create_app as create_prefect

    return Route(create_prefect())


class _Answered(Exception):
    """What the request gets instead of an answer to its reports."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Route:
    """Takes reports; leaves all other requests to ``prefect``."""

    def __init__(self, prefect: App) -> None:
        self._prefect = prefect
        self._writer = Writer(Delivery.of_this_server())
        self._difference: str | None = None
        self._is_compared = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != _PATH:
            await self._prefect(scope, receive, send)
            return
        try:
            status, body = 200, await self._answer(scope, receive)
        except _Answered as error:
            status, body = error.status, str(error).encode()
        content_type = b"application/json" if status == 200 else b"text/plain; charset=utf-8"
        headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> bytes:
        headers = dict(scope["headers"])
        if not _may_enter(headers.get(b"authorization", b"")):
            raise _Answered(401, "Unauthorized")
        if scope["method"] not in {"GET", "POST"}:
            raise _Answered(405, "GET or POST")
        try:
            await self._compare()
            if scope["method"] == "GET":
                return b"{}"
            batch = _read(await _body(receive))
            return wire.encode_answers(await self._writer.write(batch))
        except NoDeployment as error:
            raise _Answered(409, f"There is no deployment {error}.") from error
        except Undelivered as error:
            raise _Answered(503, "The broker of messages does not take them now.") from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            logger.warning("Runs were not recorded: %r", error)
            raise _Answered(503, "The database does not take it now.") from error

    async def _compare(self) -> None:
        """Look once at the tables, which change only while a server starts."""
        if not self._is_compared:
            async with connection() as database:
                self._difference = await tables.difference(database)
            self._is_compared = True
        if self._difference is not None:
            raise _Answered(501, self._difference)


def _may_enter(authorization: bytes) -> bool:
    expected = PREFECT_SERVER_API_AUTH_STRING.value()
    if expected is None:
        return True
    given = b"Basic " + base64.b64encode(expected.encode())
    return hmac.compare_digest(authorization, given)


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Answered(400, "The request ended too early.")
        body += message.get("body", b"")
        if len(body) > MOST_BYTES:
            raise _Answered(413, f"A request has at most {MOST_BYTES} bytes.")
        if not message.get("more_body", False):
            return bytes(body)


def _read(body: bytes) -> Batch:
    try:
        batch = wire.decode(body)
    except ValueError as error:
        raise _Answered(422, f"These are no reports: {error}") from error
    behind = datetime.now(UTC) - batch.sent_on
    if abs(behind) < CLOCKS_AGREE:
        return batch
    # In whole seconds: each of a worker's requests takes another time to come here.
    by = timedelta(seconds=round(behind.total_seconds()))
    return replace(batch, runs=tuple(_shifted(run, by) for run in batch.runs))


def _shifted(run: RunReport, by: timedelta) -> RunReport:
    tasks = tuple(
        replace(task, states=tuple(_later(state, by) for state in task.states)) for task in run.tasks
    )
    first, *others = run.states
    states = [_later(state, by) for state in others]
    # When a run was to begin is known by the database's clock, or by the worker's where that is slow.
    since = run.scheduled_on + max(by, timedelta())
    if states:
        since = min(since, states[0].timestamp - timedelta(microseconds=1))
    if first.name == "Scheduled":
        return replace(
            run,
            scheduled_on=since,
            states=(replace(first, timestamp=since, scheduled_on=since), *states),
            tasks=tasks,
        )
    return replace(run, scheduled_on=since, states=(_later(first, by), *states), tasks=tasks)


def _later(state: StateReport, by: timedelta) -> StateReport:
    scheduled_on = state.scheduled_on and state.scheduled_on + by
    return replace(state, timestamp=state.timestamp + by, scheduled_on=scheduled_on)
