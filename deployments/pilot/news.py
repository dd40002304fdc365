"""Prefect's events, by which a pilot learns at once that there is something to do."""

import json
import logging
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from flows.errors import Unavailable
from flows.pilots.rest import Login

_DAY = timedelta(days=1)
_TO_BE_TAKEN = ["Scheduled", "AwaitingRetry", "Late"]
_TAKEN = ["Pending"]
_CHANGED = ["Cancelling", "Cancelled", "Crashed"]

logger = logging.getLogger(__name__)


class Listener(Protocol):
    """Who is told. Nothing depends on that: there are looks at intervals, too."""

    def hears(self) -> None:
        """From now on it is told of everything; not of what was before."""
        ...

    def waits(self, run: str) -> None:
        """A run is to be taken. It may be told before others can see that."""
        ...

    def is_taken(self, run: str) -> None:
        """Somebody has taken a run."""
        ...

    def changed(self) -> None:
        """Some run was cancelled, or ended by somebody."""
        ...


class News:
    """Tells a listener what it hears."""

    def __init__(self, login: Login, listener: Listener) -> None:
        self._login = login
        self._listener = listener
        self.hears = False
        """Whether Prefect tells at the moment."""

    async def hear(self, deployments: Collection[str]) -> None:
        """Listen to what becomes of the runs of deployments. Raises Unavailable when the connection ends."""
        url = f"ws{self._login.url.removeprefix('http')}/events/out"
        try:
            async with connect(url, subprotocols=["prefect"], max_size=None) as connection:  # type: ignore[list-item]
                await self._begin(connection, deployments)
                self.hears = True
                self._listener.hears()
                async for message in connection:
                    self._heed(json.loads(message))
        except (OSError, TimeoutError, WebSocketException, ValueError) as error:
            raise Unavailable(
                "Prefect's events cannot be listened to; work is looked for every 2 s."
            ) from error
        finally:
            self.hears = False

    async def _begin(self, connection: Any, deployments: Collection[str]) -> None:
        token = self._login.auth_string or self._login.key
        await connection.send(json.dumps({"type": "auth", "token": token or None}))
        answer = json.loads(await connection.recv())
        if answer.get("type") != "auth_success":
            raise ValueError("it does not let us in")
        now = datetime.now(UTC)
        filter = {
            # Without it, Prefect tells only of what is past.
            "occurred": {"since": (now - _DAY).isoformat(), "until": (now + 365 * _DAY).isoformat()},
            "event": {"name": [f"prefect.flow-run.{name}" for name in [*_TO_BE_TAKEN, *_TAKEN, *_CHANGED]]},
            "related": {"id": [f"prefect.deployment.{id_}" for id_ in deployments]},
        }
        await connection.send(json.dumps({"type": "filter", "filter": filter, "backfill": False}))

    def _heed(self, message: dict[str, Any]) -> None:
        event = message.get("event") or {}
        name = str(event.get("event")).rpartition(".")[2]
        run = str((event.get("resource") or {}).get("prefect.resource.id")).rpartition(".")[2]
        if name in _CHANGED:
            self._listener.changed()
        elif name in _TAKEN:
            self._listener.is_taken(run)
        else:
            self._listener.waits(run)
