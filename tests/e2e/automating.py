"""Automations of Prefect, and somebody whom they call."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import PrefectClient
from prefect.events.actions import ActionTypes, DoNothing
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
    """Have an automation about each flow run by itself; the server has heard of it when the block begins."""
    about_each = {
        "match": {"prefect.resource.id": "prefect.flow-run.*"},
        "match_related": {"prefect.resource.role": "flow", "prefect.resource.name": "run-job"},
        "for_each": {"prefect.resource.id"},
    }
    core = AutomationCore(name=name, trigger=EventTrigger(**(about_each | trigger)), actions=[action])
    automation_id = await prefect.create_automation(core)
    try:
        await _heard_of_all(prefect)
        yield
    finally:
        await prefect.delete_automation(automation_id)


async def _heard_of_all(prefect: PrefectClient) -> None:
    """Return once the server minds the automations that were made by now.

    It is told of them in their order, some time after they were made. So one more is made, and events are
    sent that it fires at, until it does.
    """
    trigger = EventTrigger(expect={"tests.heard"}, threshold=1)
    automation_id = await prefect.create_automation(
        AutomationCore(name="is heard of", trigger=trigger, actions=[DoNothing()])
    )
    resource = {"prefect.resource.id": f"prefect.automation.{automation_id}"}
    fired = {"resource": {"id": list(resource.values())}, "event": {"name": ["prefect.automation.triggered"]}}

    async def has_fired() -> bool:
        event = {"occurred": datetime.now(UTC).isoformat(), "event": "tests.heard", "id": str(uuid.uuid4())}
        await prefect.request("POST", "/events", json=[{**event, "resource": resource}])
        await asyncio.sleep(0.5)
        found = await prefect.request("POST", "/events/filter", json={"filter": fired})
        return bool(found.json()["events"])

    try:
        await until(has_fired)
    finally:
        await prefect.delete_automation(automation_id)


async def saved_webhook(prefect: PrefectClient, name: str, called: Called) -> Any:
    """Return the id of the block."""
    block = Webhook(url=f"http://127.0.0.1:{called.port}/{quote(name)}")
    return await block.asave(name, overwrite=True, client=prefect)
