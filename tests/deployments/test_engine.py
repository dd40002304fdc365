"""The client of Prefect that flow runs share."""

import logging
import uuid

import httpx
import pytest
import respx
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Completed

from deployments.worker import engine
from deployments.worker.engine import PatientClient
from flows.waiting.patience import Delays

ACCEPTED = {"status": "ACCEPT", "details": {"type": "accept_details"}, "state": None}


async def test_a_state_is_told_once_prefect_takes_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine, "DELAYS", Delays(0.0, longest=0.0))
    flow_run = uuid.uuid4()
    answers: list[httpx.Response | Exception | type[Exception]] = [
        httpx.ConnectError("refused"),
        httpx.Response(503),
        httpx.Response(401),
        httpx.Response(201, json=ACCEPTED),
    ]
    settings = {PREFECT_API_URL: "http://prefect/api", PREFECT_CLIENT_MAX_RETRIES: 0}
    with caplog.at_level(logging.WARNING), temporary_settings(settings), respx.mock:
        route = respx.post(f"http://prefect/api/flow_runs/{flow_run}/set_state").mock(side_effect=answers)
        respx.get("http://prefect/api/csrf-token").respond(404)
        async with PatientClient() as client:
            assert (await client.set_flow_run_state(flow_run, Completed())).status == "ACCEPT"
        assert route.call_count == len(answers)
    said = [record.getMessage() for record in caplog.records if record.name == "flows.waiting.patience"]
    assert [text.partition(": ")[2].partition(" (")[0] for text in said] == [
        "The Prefect server does not answer.",
        "The Prefect server answers with an error.",
        "PREFECT_API_AUTH_STRING is refused by the Prefect server",
    ]
    assert "Traceback" not in caplog.text
