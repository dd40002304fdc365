"""Automations of Prefect, and somebody whom they call."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import PrefectClient
from prefect.events.actions import ActionTypes
from prefect.events.schemas.automations import AutomationCore, EventTrigger

from tests.e2e.service import free_port, until


class Called:
    """An address for webhooks, and what was sent to it."""

    def __init__(self) -> None:
        self.port = free_port()
        self.said: list[str] = []

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        async with await asyncio.start_server(self._answer, "127.0.0.1", self.port):
            yield

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r")[0])
        self.said.append((await reader.readexactly(length)).decode())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async def hears(self, words: str) -> str:
        """Wait for something with these words."""

        async def look() -> str | None:
            return next((text for text in self.said if words in text), None)

        found: str = await until(look)
        return found


@asynccontextmanager
async def automation(
    prefect: PrefectClient, name: str, action: ActionTypes, **trigger: Any
) -> AsyncIterator[None]:
    """Have an automation about each flow run by itself."""
    about_each = {
        "match": {"prefect.resource.id": "prefect.flow-run.*"},
        "match_related": {"prefect.resource.role": "flow", "prefect.resource.name": "run-job"},
        "for_each": {"prefect.resource.id"},
    }
    core = AutomationCore(name=name, trigger=EventTrigger(**(about_each | trigger)), actions=[action])
    automation_id = await prefect.create_automation(core)
    try:
        yield
    finally:
        await prefect.delete_automation(automation_id)


async def saved_webhook(prefect: PrefectClient, name: str, called: Called) -> Any:
    """Return the id of the block."""
    block = Webhook(url=f"http://127.0.0.1:{called.port}/{quote(name)}")
    return await block.asave(name, overwrite=True, client=prefect)
