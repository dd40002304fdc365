"""Applications on sockets of ours: how they end."""

import asyncio
import signal
import subprocess
from pathlib import Path

import pytest
import websockets

from deployments.serving import asgi
from deployments.serving.listening import base_url, listen
from tests.waiting import LONG_ENOUGH


@pytest.mark.parametrize("factory", ["create_app", "create_careless_app"])
async def test_a_websocket_that_does_not_end_by_itself_ends_without_a_word(
    checkout: Path, factory: str
) -> None:
    with listen("127.0.0.1", 0, "PORT") as listener:
        server = subprocess.Popen(
            asgi.command(f"tests.deployments.lingering:{factory}", listener),
            cwd=checkout,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[listener.fileno()],
        )
        try:
            async with asyncio.timeout(LONG_ENOUGH):
                url = base_url(listener).replace("http", "ws", 1)
                async with websockets.connect(url, open_timeout=LONG_ENOUGH) as client:
                    assert await client.recv() == "here"
                    server.send_signal(signal.SIGTERM)
                    said, _ = await asyncio.to_thread(server.communicate)
        finally:
            server.kill()
            server.wait()
    careless = b"ERROR:    Cancel 1 running task(s), timeout graceful shutdown exceeded\n"
    assert said == (careless if factory == "create_careless_app" else b"")
