"""An application whose websocket takes no notice of its client's end, as Prefect's do for a second."""

import asyncio
from typing import Any


def create_app() -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for event in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{event}.complete"})
            return
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "here"})
        await asyncio.Event().wait()

    return app
