"""Refusals of requests whose body was not read to its end."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

LINGER = 5.0  # seconds in which a visitor who still sends can read the answer


class CloseUnread:
    """Closes the connection after an answer that came before the end of the request's body.

    Closed at once, with bytes of the visitor on their way, the kernel would reset the connection, and the
    visitor would see that and not the answer. So what still comes is thrown away for a while.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send)
        await self._app(scope, exchange.receive, exchange.send)


def _has_body(scope: Scope) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in scope["headers"]
    )


class _Exchange:
    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._unread = True
        self._closing = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and self._unread:
            self._closing = True
            message = {**message, "headers": [*message.get("headers", []), (b"connection", b"close")]}
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if not last or not self._closing:
            await self._send(message)
            return
        await self._send({**message, "more_body": True})
        await self._throw_away()
        await self._send({"type": "http.response.body"})

    async def _throw_away(self) -> None:
        try:
            async with asyncio.timeout(LINGER):
                while self._unread:
                    await self.receive()
        except TimeoutError:
            return  # closed as announced
