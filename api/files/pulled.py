"""Answers that are made while they are sent.

Who reads them pulls: nothing is made ahead, and nobody who reads slowly keeps a thread.
"""

import asyncio
import threading
from collections.abc import Generator, Mapping
from typing import ClassVar

from fastapi import Request
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from api.services import Services


class PulledAnswer(Response):
    """Sends the pieces, some of them empty, as they are taken; closes them when whoever asked goes away.

    Each piece is made in a thread, in one of the ``turns`` where there are such.
    """

    turns: ClassVar[asyncio.Semaphore | None] = None

    def __init__(
        self,
        pieces: Generator[bytes, None, None],
        services: Services,
        *,
        headers: Mapping[str, str],
        media_type: str,
        status: int = 200,
    ) -> None:
        super().__init__(None, status, {**headers, "X-Content-Type-Options": "nosniff"}, media_type)
        if "Content-Length" not in headers:
            del self.headers["Content-Length"]
        self._pieces = pieces
        self._services = services
        # A thread may still make a piece when the answer is given up.
        self._lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        try:
            await send(start)
            if scope["method"] != "HEAD":
                await self._send_pieces(Request(scope, receive), send)
            await send({"type": "http.response.body"})
        finally:
            await self._services.on_disk(self._close)

    async def _send_pieces(self, request: Request, send: Send) -> None:
        while not await request.is_disconnected():
            piece = await self._made()
            if piece is None:
                return
            if piece:
                await send({"type": "http.response.body", "body": piece, "more_body": True})

    async def _made(self) -> bytes | None:
        if self.turns is None:
            return await self._services.on_disk(self._next)
        async with self.turns:
            return await self._services.on_disk(self._next)

    def _next(self) -> bytes | None:
        with self._lock:
            return next(self._pieces, None)

    def _close(self) -> None:
        with self._lock:
            self._pieces.close()
