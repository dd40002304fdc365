"""Answers that last as long as what they tell about."""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from api.services import Services
from api.watching import Watched
from deployments.serving.asgi import STOPPING
from flows.waiting.cancelling import cancel

_LAST_WORD = 0.3  # seconds to send the end to a visitor who may not read
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # a proxy must not keep it back
    "X-Content-Type-Options": "nosniff",
}


class Stream(Response):
    """Sends pieces until there are no more, the visitor goes away or the server stops.

    A visitor who does not read stops the making of pieces: nothing is kept for them.
    """

    ends_with_server = True
    """If not, the visitor sees an answer that was cut short when the server stops."""

    def __init__(self, watched: Watched, services: Services) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["Content-Length"]  # which nobody knows
        self._watched = watched
        self._services = services

    @abstractmethod
    def pieces(self) -> AsyncGenerator[bytes]:
        """Yield what is to be sent."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body"})
            else:
                await self._send_until_end(scope, receive, send)
        finally:
            self._services.watcher.close(self._watched)

    async def _send_until_end(self, scope: Scope, receive: Receive, send: Send) -> None:
        stopping: asyncio.Event = scope.get("state", {}).get(STOPPING) or asyncio.Event()
        sending = asyncio.create_task(self._send_pieces(send))
        others = [asyncio.create_task(_gone(receive)), asyncio.create_task(stopping.wait())]
        try:
            await asyncio.wait([sending, *others], return_when=asyncio.FIRST_COMPLETED)
        finally:
            complete = sending.done()
            await cancel([sending, *others])
        if complete:
            sending.result()  # raises what went wrong
        if complete or self.ends_with_server:
            await _send_end(send)

    async def _send_pieces(self, send: Send) -> None:
        async with aclosing(self.pieces()) as pieces:
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_end(send: Send) -> None:
    try:
        async with asyncio.timeout(_LAST_WORD):
            await send({"type": "http.response.body"})
    except TimeoutError:
        return  # the server closes what is not complete
