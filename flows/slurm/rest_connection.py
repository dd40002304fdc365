"""The way to slurmrestd, with a token that is replaced from time to time."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from flows.errors import Unavailable
from flows.slurm import rest_dialects, rest_messages
from flows.slurm.rest_dialects import Api
from flows.slurm.rest_messages import Answer

if TYPE_CHECKING:
    from blocks import SlurmRestCredentials


class _Open:
    def __init__(self, credentials: "SlurmRestCredentials", client: httpx.AsyncClient, stack: AsyncExitStack):
        self.credentials = credentials
        self.client = client
        self.stack = stack
        self.users = 0
        self.api: Api | None = None
        self.asking = asyncio.Lock()


class RestConnection:
    """Reads the block again whenever an answer was not good, as when the token has expired."""

    def __init__(self, block: str, version: str | None) -> None:
        self._block = block
        self._pinned = version
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

    async def api(self) -> Api:
        """Return how the server is spoken to. Raises Unavailable when it does not say so."""
        async with self._client() as opened, opened.asking:
            if opened.api is None:
                with self._doubting(opened):
                    response = await self._send(opened, "GET", "/openapi/v3")
                    # In a thread: its 2 MB would keep the loop busy.
                    opened.api = rest_dialects.offered(
                        await asyncio.to_thread(_object, response), self._pinned
                    )
            return opened.api

    async def request(
        self,
        api: Api,
        method: str,
        path: str,
        *,
        params: Sequence[tuple[str, str]] = (),
        json: Any = None,
    ) -> Answer:
        """Ask for a path of slurm or slurmdb. Raises Unavailable when there is no answer of slurmrestd."""
        plugin, _, rest = path.partition("/")
        address = f"/{plugin}/{api.dialect.version}/{rest}"
        async with self._client() as opened:
            with self._doubting(opened):
                response = await self._send(opened, method, address, params=list(params), json=json)
                if _is_unknown_address(response):
                    if plugin == "slurm":
                        opened.api = None  # it is another one by now
                    answer = Answer(404, {})
                else:
                    answer = Answer(response.status_code, _object(response))
            if not answer.is_good:
                self._doubt(opened)
                if _has_expired(opened):
                    raise self._refused("has expired")
        return answer

    async def _send(self, opened: _Open, method: str, address: str, **request: Any) -> httpx.Response:
        try:
            response = await opened.client.request(method, address, **request)
        except httpx.TimeoutException as error:
            raise Unavailable(f"slurmrestd does not answer in time ({opened.credentials.url}).") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise Unavailable(
                f"slurmrestd cannot be reached ({opened.credentials.url}: {error or type(error).__name__})."
            ) from error
        # With 403 and JSON it says that something was not permitted, as when its controller is away.
        told = response.headers.get("content-type", "").startswith("application/json")
        if response.status_code in {401, 511} or (response.status_code == 403 and not told):
            raise self._refused("has expired" if _has_expired(opened) else "is refused")
        return response

    @contextmanager
    def _doubting(self, opened: _Open) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._doubt(opened)
            raise

    def _doubt(self, opened: _Open) -> None:
        self._doubted = self._doubted or opened is self._open

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


def _has_expired(opened: _Open) -> bool:
    return rest_messages.has_expired(_token(opened.credentials), time.time())


def _same(one: "SlurmRestCredentials", other: "SlurmRestCredentials") -> bool:
    return (one.url, one.user, _token(one)) == (other.url, other.user, _token(other))


def _is_unknown_address(response: httpx.Response) -> bool:
    """Whether slurmrestd says so: what it does not find among its addresses, it answers without JSON."""
    text = response.headers.get("content-type", "").startswith("text/")
    return response.status_code == 404 and text and "openapi" in response.text[:200]


def _object(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        kind = response.headers.get("content-type", "no content type")[:80]
        raise Unavailable(f"What answers is not slurmrestd (HTTP status {response.status_code}, {kind}).")
    return body
