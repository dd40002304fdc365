"""Requests that are still under way when the server stops."""

import asyncio

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SENTENCE = "The server is stopping; try again in a few seconds."


class AnswerCancelled:
    """Answers 503 to a request that is cancelled, which nobody but a server that stops does."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, note)
        except asyncio.CancelledError:
            if started:
                raise
            headers = {"Retry-After": "5", "Connection": "close"}
            await JSONResponse({"detail": _SENTENCE}, 503, headers)(scope, receive, send)
