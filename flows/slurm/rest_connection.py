"""The way to slurmrestd, with a token that is replaced from time to time."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx

from flows.errors import Unavailable
from flows.slurm import rest_messages
from flows.slurm.rest_messages import Answer

if TYPE_CHECKING:
    from blocks import SlurmRestCredentials


class _Open:
    def __init__(self, credentials: "SlurmRestCredentials", client: httpx.AsyncClient, stack: AsyncExitStack):
        self.credentials = credentials
        self.client = client
        self.stack = stack
        self.users = 0


class RestConnection:
    """Reads the block again whenever an answer was not good, as when the token has expired."""

    def __init__(self, block: str, version: str | None) -> None:
        self._block = block
        self._pinned = version
        self._version = version
        self._open: _Open | None = None
        self._doubted = False
        self._opening = asyncio.Lock()

    @property
    def user(self) -> str | None:
        """Whose token was used last."""
        return None if self._open is None else self._open.credentials.user

    async def whom(self) -> str:
        """Return whose token is used now."""
        async with self._client() as opened:
            return opened.credentials.user

    async def request(
        self,
        method: str,
        plugin: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Any = None,
    ) -> Answer:
        """Ask ``plugin``, slurm or slurmdb. Raises Unavailable when there is no answer of slurmrestd."""
        async with self._client() as opened:
            if self._version is None:
                self._version = rest_messages.newest((await self._ask(opened, "GET", "/openapi/v3")).body)
            address = f"/{plugin}/{self._version}/{path}"
            answer = await self._ask(opened, method, address, params=params, json=json)
            if not answer.is_good and rest_messages.has_expired(_token(opened.credentials), time.time()):
                raise self._refused("has expired")
        return answer

    async def _ask(self, opened: _Open, method: str, address: str, **request: Any) -> Answer:
        known = False
        try:
            response = await opened.client.request(method, address, **request)
            answer = self._read(response)
            known = answer.is_good
        except httpx.TimeoutException as error:
            raise Unavailable(f"slurmrestd does not answer in time ({opened.credentials.url}).") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise Unavailable(
                f"slurmrestd cannot be reached ({opened.credentials.url}: {error or type(error).__name__})."
            ) from error
        finally:
            if not known and opened is self._open:
                self._doubted, self._version = True, self._pinned
        return answer

    def _read(self, response: httpx.Response) -> Answer:
        if response.status_code in {401, 403}:
            raise self._refused("is refused")
        if response.status_code == 404 and "openapi" in response.text[:200]:
            return Answer(404, {})
        try:
            body = response.json()
        except ValueError as error:
            raise _not_slurmrestd(response) from error
        if not isinstance(body, dict):
            raise _not_slurmrestd(response)
        return Answer(response.status_code, body)

    def _refused(self, how: str) -> Unavailable:
        return Unavailable(
            f"The token of the block {self._block} {how}: save the block with a new one, as `scontrol token` "
            "prints it."
        )

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[_Open]:
        async with self._opening:
            opened = await self._current()
            opened.users += 1
        try:
            yield opened
        finally:
            opened.users -= 1
            if opened is not self._open and opened.users == 0:
                await opened.stack.aclose()

    async def _current(self) -> _Open:
        old = self._open
        if old is not None and not self._doubted:
            return old
        # They import Prefect, which takes a second.
        from blocks import SlurmRestCredentials
        from flows.destinations.blocks import saved

        credentials = await saved(SlurmRestCredentials, self._block)
        self._doubted = False
        if old is not None and _same(old.credentials, credentials):
            return old
        stack = AsyncExitStack()
        client = await stack.enter_async_context(credentials.client())
        self._open = _Open(credentials, client, stack)
        if old is not None and old.users == 0:
            await old.stack.aclose()
        return self._open

    async def close(self) -> None:
        """Close the connection; who still waits for an answer gets Unavailable."""
        async with self._opening:
            opened, self._open = self._open, None
            if opened is not None and opened.users == 0:
                await opened.stack.aclose()


def _token(credentials: "SlurmRestCredentials") -> str:
    return credentials.token.get_secret_value()


def _same(one: "SlurmRestCredentials", other: "SlurmRestCredentials") -> bool:
    return (one.url, one.user, _token(one)) == (other.url, other.user, _token(other))


def _not_slurmrestd(response: httpx.Response) -> Unavailable:
    kind = response.headers.get("content-type", "no content type")[:80]
    return Unavailable(f"What answers is not slurmrestd (HTTP status {response.status_code}, {kind}).")
