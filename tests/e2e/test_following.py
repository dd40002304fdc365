"""Following a running command to its end, with a real client of a whole server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import websockets
from websockets.typing import Subprotocol

from tests.api.live.following import Event, Events
from tests.e2e.service import Service
from tests.waiting import LONG_ENOUGH

# It goes on when the visitor has seen what it wrote before: none of that can have come at the end only.
SCRIPT = """
for step in 1 2 3; do
    echo "step $step is done €"
    echo "careful $step" >&2
    while [ ! -e "go$step" ]; do sleep 0.05; done
done
printf last
exit 3
"""


async def test_a_command_is_followed_to_its_end(service: Service) -> None:
    job_id = await service.run(SCRIPT)
    async with asyncio.timeout(LONG_ENOUGH):
        told, written = await asyncio.gather(_events(service, job_id), _text(service, job_id))
    output = "".join(event.data for event in told if event.name == "stdout")
    assert output == "step 1 is done €\nstep 2 is done €\nstep 3 is done €\nlast"
    assert written == output
    assert "".join(event.data for event in told if event.name == "stderr") == (
        "careful 1\ncareful 2\ncareful 3\n"
    )
    states = [event.data["state"] for event in told if event.name == "job"]
    assert states[-1] == "error"
    assert "running" in states
    assert told[-1].name == "job"
    assert (
        told[-1].data["reason"]
        == "The command ended with exit code 3; see stderr.txt, which ends with: careful 3"
    )


async def _events(service: Service, job_id: int) -> list[Event]:
    """Return all events, by a client that connects again after each step."""
    seen: list[Event] = []
    last_id = ""
    while not seen or not _is_last(seen[-1]):
        url = f"/api/job/{job_id}/events"
        async with service.client.stream("GET", url, headers={"Last-Event-ID": last_id}) as response:
            response.raise_for_status()
            async for event in Events(response):
                seen.append(event)
                last_id = event.id or last_id
                if event.name == "stdout" and event.data.endswith("€\n"):
                    (service.job_dir(job_id) / f"go{event.data.split()[-4]}").touch()
                    break
    return seen


def _is_last(event: Event) -> bool:
    data: Any = event.data
    return event.name == "job" and data["state"] in ("ok", "error")


async def _text(service: Service, job_id: int) -> str:
    url = f"/api/job/{job_id}/stdout"
    async with service.client.stream("GET", url, params={"follow": True}) as response:
        response.raise_for_status()
        return (await response.aread()).decode()


async def test_the_server_stops_while_a_job_is_followed(own_service: Service) -> None:
    await own_service.start()
    job_id = await own_service.run("echo begun; while [ ! -e go ]; do sleep 0.05; done; echo ended")
    async with own_service.client.stream("GET", f"/api/job/{job_id}/events") as response:
        events = Events(response)
        last_id = await events.text("begun\n")
        async with looking_at_prefects_ui(own_service):
            await own_service.stop()
        assert await events.all() == []
    assert "Traceback" not in own_service.log()
    (own_service.job_dir(job_id) / "go").touch()
    await own_service.start()
    headers = {"Last-Event-ID": str(last_id)}
    async with own_service.client.stream("GET", f"/api/job/{job_id}/events", headers=headers) as response:
        rest = await Events(response).all()
    assert "".join(event.data for event in rest if event.name == "stdout") == "ended\n"
    assert json.loads((await _job(own_service, job_id)).text) == rest[-1].data


LOOKS = 10
"""Prefect looks every 1.1 s whether a client is there; of so many, one was looked at just before a stop."""


@asynccontextmanager
async def looking_at_prefects_ui(service: Service) -> AsyncIterator[None]:
    """Follow events and logs as the pages do, each from another moment on."""
    environment = service.environment
    url = environment["PREFECT_API_URL"].replace("http", "ws", 1)
    filters: dict[str, dict[str, Any]] = {"events": {}, "logs": {"level": {"ge_": 0}}}
    async with AsyncExitStack() as stack:
        for _ in range(LOOKS):
            for stream, wanted in filters.items():
                connecting = websockets.connect(f"{url}/{stream}/out", subprotocols=[Subprotocol("prefect")])
                client = await stack.enter_async_context(connecting)
                await client.send(
                    json.dumps({"type": "auth", "token": environment["PREFECT_API_AUTH_STRING"]})
                )
                assert json.loads(await client.recv())["type"] == "auth_success"
                await client.send(json.dumps({"type": "filter", "filter": wanted}))
            await asyncio.sleep(1.1 / LOOKS)
        yield


async def _job(service: Service, job_id: int) -> httpx.Response:
    return await service.client.get(f"/api/job/{job_id}")
