"""A destination's REST API, which is asked with credentials that are replaced from time to time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, cast

import httpx

from flows.destinations.saved_block import SavedBlock
from flows.errors import Unavailable

if TYPE_CHECKING:
    from prefect.blocks.core import Block

_SECONDS = 120.0
"""For an answer as a whole: httpx waits as long as there is a byte once in a while."""


class OpensClient(Protocol):
    """What a block has to do."""

    def client(self) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        """Open a client that knows the address and the login."""
        ...


class _Open:
    def __init__(self, block: Any, client: httpx.AsyncClient, stack: AsyncExitStack) -> None:
        self.block = block
        self.client = client
        self.stack = stack
        self.users = 0


class HttpApi:
    """One client for all who ask. ``kind`` returns the class of the block; ``what`` is what answers there.

    The block is read again when the login is refused, and another client takes the place of this one.
    """

    def __init__(self, kind: "Callable[[], type[Block]]", block: str, what: str) -> None:
        self._saved = SavedBlock(kind, block)
        self._what = what
        self._open: _Open | None = None
        self._opening = asyncio.Lock()

    async def request(
        self, method: str, path: str, *, params: Sequence[tuple[str, str]] = (), json: Any = None
    ) -> httpx.Response:
        """Return an answer with a status of success, or one that says that this request is wrong: 400 to 499.

        Raises Unavailable for all that may pass: no answer in time, a login that is refused, too many
        requests, errors of the server, and redirects, which are not followed as the login is not for others.
        What was asked may have been done all the same.
        """
        async with self._lent() as opened:
            try:
                async with asyncio.timeout(_SECONDS):
                    answer = await opened.client.request(method, path, params=list(params), json=json)
            except (TimeoutError, httpx.TimeoutException) as error:
                raise Unavailable(f"{self._what} does not answer in time.") from error
            except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
                raise Unavailable(
                    f"{self._what} cannot be reached ({error or type(error).__name__})."
                ) from error
            if answer.status_code in {401, 403}:
                self._saved.doubt(opened.block)
                raise Unavailable(
                    f"{self._what} refuses the login of the block {self._saved.name}: save it with a new one."
                )
        if answer.status_code == 429 or not (answer.is_success or answer.is_client_error):
            raise Unavailable(f"{self._what} does not answer now (HTTP status {answer.status_code}).")
        return answer

    def unexpected(self, answer: httpx.Response) -> Unavailable:
        """Return the error of an answer that says that a request is wrong which cannot be."""
        return Unavailable(f"{self._what} does not understand us (HTTP status {answer.status_code}).")

    def content(self, answer: httpx.Response) -> dict[str, Any]:
        """Return the object in an answer. Raises Unavailable when there is none: something else answers."""
        try:
            body = answer.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise Unavailable(f"{self._what} answers with what is no JSON object.")
        return body

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[_Open]:
        async with self._opening:
            block = await self._saved.current()
            opened = self._open
            if opened is None or opened.block is not block:
                stack = AsyncExitStack()
                client = await stack.enter_async_context(cast(OpensClient, block).client())
                opened = _Open(block, client, stack)
                await self._replace(opened)
            opened.users += 1
        try:
            yield opened
        finally:
            opened.users -= 1
            if opened is not self._open and not opened.users:
                await opened.stack.aclose()

    async def _replace(self, new: _Open | None) -> None:
        old, self._open = self._open, new
        if old is not None and not old.users:
            await old.stack.aclose()

    async def close(self) -> None:
        """Close the client, once the last one who waits has an answer."""
        async with self._opening:
            await self._replace(None)
