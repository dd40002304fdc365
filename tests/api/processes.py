"""More than one process of the API, as of several hosts, on one database and data directory."""

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from deployments.serving import asgi
from tests.api.conftest import Site, settings
from tests.e2e.service import until


class Process:
    """A second API process beside the site, on its database and data directory."""

    def __init__(self, site: Site, directory: Path) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        environment = settings(directory, site.store.pool.url, site.keys)
        environment |= {
            "BARTENDER_DATA_DIR": str(site.data_dir),
            "PREFECT_API_URL": "http://127.0.0.1:9/api",  # nobody is there
        }
        self.popen = subprocess.Popen(
            asgi.command("api.app:create_app", self._listener),
            env={**os.environ, **environment},
            pass_fds=[self._listener.fileno()],
            stderr=subprocess.DEVNULL,
        )

    async def is_ready(self) -> bool:
        try:
            async with httpx.AsyncClient(base_url=self.address, timeout=1) as client:
                return (await client.get("/api/health")).status_code == 200
        except httpx.TransportError:
            return False

    async def end(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)
        await asyncio.to_thread(self.popen.wait)
        self._listener.close()


@asynccontextmanager
async def second_process(site: Site, directory: Path) -> AsyncIterator[Process]:
    process = Process(site, directory)
    try:
        await until(process.is_ready)
        yield process
    finally:
        await process.end(signal.SIGKILL)


async def client_of(site: Site, process: Process, username: str = "alice") -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {site.keys.token(username)}"}
    client = httpx.AsyncClient(base_url=process.address, headers=headers, timeout=60)
    return await site.stack.enter_async_context(client)
