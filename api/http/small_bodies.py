"""Routes with a few values in their body, which the framework reads whole before it looks whose they are."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from starlette.types import Message, Receive

LIMIT = 16 << 10
"""Bytes of such a body."""


class SmallBodyRoute(APIRoute):
    """Answers 413 to a body of more than ``LIMIT`` bytes, which it does not read on. Others are as ever."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle  # it reads no body, or streams it

        async def handle_small(request: Request) -> Response:
            return await handle(Request(request.scope, _bounded(request.receive)))

        return handle_small


def _bounded(receive: Receive) -> Receive:
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > LIMIT:
            raise HTTPException(413, f"The body is too large: at most {LIMIT} bytes are allowed.")
        return message

    return bounded
