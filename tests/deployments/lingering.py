"""Applications whose websocket takes no notice of its client's end, as Prefect's do for a second."""

import asyncio
from typing import Any


def create_app() -> Any:
    """Make one that ends when it is cancelled."""
    return _app(losses=0)


def create_careless_app() -> Any:
    """Make one that loses the first cancellation, as a library may."""
    return _app(losses=1)


def _app(*, losses: int) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for event in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{event}.complete"})
            return
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "here"})
        for _ in range(losses):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue
        await asyncio.Event().wait()

    return app
