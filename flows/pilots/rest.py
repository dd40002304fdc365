"""The part of Prefect's REST API that pilots and their scheduler need."""

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from flows.errors import ConfigurationError, Refused, Unavailable
from flows.prefect_api import unavailable_when_prefect_is_away
from flows.waiting import vanishing

PAGE = 200
"""Rows that Prefect gives in one answer, at most."""

BULK = 25
"""Runs that are made in one call. Prefect takes 100, in one transaction: on a busy machine that took 20 s."""

_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Login:
    """Where a Prefect server is, and what it asks for: an ``auth_string``, or in Prefect Cloud a ``key``."""

    url: str
    auth_string: str = ""
    key: str = ""

    @classmethod
    def of_environment(cls) -> Self:
        """Read the variables that Prefect reads, too; ConfigurationError without an address."""
        url = os.environ.get("PREFECT_API_URL", "")
        if urlsplit(url).scheme not in {"http", "https"}:
            raise ConfigurationError(
                "environment: PREFECT_API_URL is missing: set it to the address of the Prefect server's API, "
                "such as https://prefect.example.org/api"
            )
        auth_string = os.environ.get("PREFECT_API_AUTH_STRING", "")
        return cls(url.rstrip("/"), auth_string, os.environ.get("PREFECT_API_KEY", ""))

    @classmethod
    def of_settings(cls) -> Self:
        """Return what Prefect's settings say, wherever they are from."""
        from prefect import settings  # a worker has it already

        url = settings.PREFECT_API_URL.value()
        if url is None:
            raise Refused("PREFECT_API_URL is not set.")
        auth_string, key = settings.PREFECT_API_AUTH_STRING.value(), settings.PREFECT_API_KEY.value()
        return cls(url.rstrip("/"), _text(auth_string), _text(key))

    @property
    def headers(self) -> dict[str, str]:
        """What a request proves its right with."""
        if self.auth_string:
            return {"Authorization": f"Basic {base64.b64encode(self.auth_string.encode()).decode()}"}
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}


def _text(secret: Any) -> str:
    return str(secret.get_secret_value() if hasattr(secret, "get_secret_value") else secret or "")


class NotFound(Exception):
    """Prefect has nothing of that name or id."""


class PrefectRest:
    """Each method raises Unavailable when there is no answer, Refused when an operator has to see to it.

    What has no answer may be done all the same, but not later than ``vanishing.SECONDS`` after that.
    """

    def __init__(self, login: Login) -> None:
        self.login = login
        self._ahead = timedelta()
        self._client = httpx.AsyncClient(
            base_url=login.url, headers=login.headers, timeout=_SECONDS, transport=_transport(login.url)
        )

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()

    async def ask(self, method: str, path: str, json: Any = None) -> Any:
        """Return the answer's content. Raises NotFound, and Refused with what Prefect says to a call that it
        does not take.
        """
        answer = await self._ask(method, path, json)
        try:
            return answer.json()
        except ValueError as error:
            raise Unavailable(
                "What answers in Prefect's place is something else, such as a proxy."
            ) from error

    async def tell(self, method: str, path: str, json: Any = None) -> None:
        """Do as ``ask``, where the answer has no content."""
        await self._ask(method, path, json)

    async def _ask(self, method: str, path: str, json: Any = None) -> httpx.Response:
        with unavailable_when_prefect_is_away():
            try:
                asked = datetime.now(UTC)
                answer = await self._client.request(method, path, json=json)
                if answer.status_code == httpx.codes.NOT_FOUND:
                    raise NotFound(path)
                answer.raise_for_status()
            except httpx.HTTPStatusError as error:
                if error.response.status_code in {400, 409, 413, 422}:
                    said = error.response.text[:200]
                    raise Refused(f"Prefect does not take a request ({path}): {said}") from error
                raise
        self._ahead = _date(answer) - asked
        return answer

    def now(self) -> datetime:
        """Return the time by the server's clock, of which a second is not known."""
        return datetime.now(UTC) + self._ahead

    async def runs(self, filter: Mapping[str, Any], *, deployment: str | None = None) -> list[dict[str, Any]]:
        """Return all runs that a filter of Prefect's lets through, a page at a time."""
        body = {"flow_runs": filter, "limit": PAGE, "sort": "ID_DESC"}
        if deployment is not None:
            body["deployments"] = {"id": {"any_": [deployment]}}
        rows: list[dict[str, Any]] = []
        while True:
            page = await self.ask("POST", "/flow_runs/filter", {**body, "offset": len(rows)})
            rows += page
            if len(page) < PAGE:
                return rows

    async def run(self, run_id: str) -> dict[str, Any]:
        """Return a run, with its state. Raises NotFound."""
        run: dict[str, Any] = await self.ask("GET", f"/flow_runs/{run_id}")
        return {**run, "state": run.get("state") or {}}

    async def set_state(self, run_id: str, state: Mapping[str, Any]) -> tuple[bool, dict[str, Any]]:
        """Ask for a state by Prefect's rules; return whether it is that now, and the state that it is.

        The latter is empty where Prefect does not say. Raises NotFound.
        """
        answer = await self.ask("POST", f"/flow_runs/{run_id}/set_state", {"state": state, "force": False})
        return answer["status"] == "ACCEPT", answer.get("state") or {}

    async def force_state(self, run_id: str, state: Mapping[str, Any]) -> None:
        """Set a state, whatever Prefect's rules say."""
        await self.ask("POST", f"/flow_runs/{run_id}/set_state", {"state": state, "force": True})

    async def states(self, run_id: str) -> Sequence[dict[str, Any]]:
        """Return all states that a run had, in their order."""
        states = await self.ask("GET", f"/flow_run_states/?flow_run_id={run_id}")
        return sorted(states, key=lambda state: str(state["timestamp"]))

    async def heartbeat(self, pool: str, name: str, seconds: float) -> None:
        """Show a worker online. Raises NotFound where there is no such pool."""
        await self._ask(
            "POST",
            f"/work_pools/{pool}/workers/heartbeat",
            {"name": name, "heartbeat_interval_seconds": int(seconds)},
        )

    async def alive(self, pool: str, since: datetime) -> set[str]:
        """Return the names of the workers of a pool that were heard of since then."""
        names: set[str] = set()
        body = {"workers": {"last_heartbeat_time": {"after_": since.isoformat()}}, "limit": PAGE}
        while True:
            path = f"/work_pools/{pool}/workers/filter"
            page = await self.ask("POST", path, {**body, "offset": len(names)})
            names |= {worker["name"] for worker in page}
            if len(page) < PAGE:
                return names

    async def variables(self, block: str) -> dict[str, str]:
        """Return the variables of a block of type ``command-environment``."""
        path = f"/block_types/slug/command-environment/block_documents/name/{block}?include_secrets=true"
        try:
            document = await self.ask("GET", path)
        except NotFound as error:
            raise Unavailable(f"The block {block} with the commands' variables is not there.") from error
        return {name: str(value) for name, value in (document["data"].get("variables") or {}).items()}


def _date(answer: httpx.Response) -> datetime:
    try:
        return parsedate_to_datetime(answer.headers["Date"])
    except (KeyError, ValueError):  # a proxy may leave it out
        return datetime.now(UTC)


def _transport(url: str) -> httpx.AsyncHTTPTransport:
    """Return one that drops what a machine that is gone does not take, as httpx's own never would."""
    parts = urlsplit(url)
    proxy = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
    return httpx.AsyncHTTPTransport(proxy=proxy, socket_options=vanishing.OPTIONS)
