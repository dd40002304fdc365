"""Workers that a Prefect server will never take say so, and end."""

import asyncio

import pytest

from tests.e2e.service import Service


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        (
            "PREFECT_API_AUTH_STRING",
            "bartender:guess",
            "PREFECT_API_AUTH_STRING is refused by the Prefect server (status 401): set it to "
            "PREFECT_SERVER_API_AUTH_STRING of that server.",
        ),
        (
            "PREFECT_API_URL",
            "{ui}",
            "PREFECT_API_URL does not lead to the API of a Prefect server: its address ends in /api.",
        ),
        (
            "PREFECT_API_URL",
            "{ui}/api/api",
            "PREFECT_API_URL does not lead to the API of a Prefect server: its address ends in /api.",
        ),
    ],
)
async def test_what_an_operator_got_wrong(service: Service, name: str, value: str, what: str) -> None:
    ui = service.environment["PREFECT_API_URL"].removesuffix("/api")
    variables = {**service.environment, "BARTENDER_WORKER_NAME": "refused", name: value.format(ui=ui)}
    worker = service.command("worker", **variables)
    said, _ = await asyncio.to_thread(worker.communicate)
    assert (worker.returncode, said.decode()) == (2, f"bartender: environment: {what}\n")
