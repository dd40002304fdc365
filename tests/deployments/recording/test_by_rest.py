"""The recorder for Prefect servers that are not ours: what it tells by the public API, and hears."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
import pytest_asyncio
from prefect.client.orchestration import PrefectClient
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from deployments.recording.by_rest import MOST_ERRORS
from deployments.recording.choosing import ChosenRecorder, open_recorder
from deployments.recording.reports import RunReport, Verdict
from flows.errors import Refused, Unavailable
from tests.deployments.recording.server import Json, Server
from tests.deployments.recording.telling import Job, known


@pytest_asyncio.fixture
async def rest(server: Server) -> AsyncIterator[ChosenRecorder]:
    block = server.storage._block_document_id
    async with open_recorder(server.client, server.login, results=block, by_route=False) as recorder:
        yield recorder


async def verdicts(recorder: ChosenRecorder, *reports: RunReport) -> list[Verdict]:
    return [answer.verdict for answer in await recorder.record(reports)]


async def found(server: Server, job: Job) -> Json:
    """Return the run, which Prefect gave an id of its own."""
    wanted = {"flow_runs": {"idempotency_key": {"any_": [job.waits().idempotency_key]}}}
    (run,) = await server.post("/flow_runs/filter", wanted)
    return dict(run)


async def names(server: Server, job: Job) -> list[str]:
    return await server.names(uuid.UUID((await found(server, job))["id"]))


async def tasks(server: Server, job: Job, number: int) -> Sequence[Json]:
    flow_run_id = uuid.UUID((await found(server, job))["id"])
    while len(there := await server.tasks(flow_run_id)) < number or not all(
        task["end_time"] for task in there
    ):
        await asyncio.sleep(0.2)
    return there


async def test_runs_of_all_lengths(server: Server, rest: ChosenRecorder) -> None:
    short, long = Job(1), Job(2)
    written = [Verdict.WRITTEN] * 2
    assert await verdicts(rest, short.ends(), long.waits()) == written
    assert await verdicts(rest, known(short.ends()), known(long.runs_in("upload"))) == written
    assert await verdicts(rest, known(long.runs_in("upload", "poll")), known(short.ends())) == written
    assert await verdicts(rest, known(long.ends("FAILED", message="It ended badly."))) == [Verdict.WRITTEN]
    assert await names(server, short) == ["Running", "Completed"]
    assert await names(server, long) == ["Scheduled", "Running", "Failed"]
    run = await found(server, long)
    assert (run["run_count"], run["state"]["message"]) == (1, "It ended badly.")
    assert (run["name"], run["parameters"]) == ("wc-2", {"job_id": 2})
    for job in (short, long):
        for task in await tasks(server, job, 4):
            assert (task["state_type"], task["run_count"]) == ("COMPLETED", 1)


async def test_as_few_calls_as_it_takes(
    server: Server, rest: ChosenRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    request = server.client.request

    async def counted(method: str, path: str, **more: object) -> object:
        calls.append(path.rpartition("/")[2])
        return await request(method, path, **more)  # type: ignore[arg-type]

    await verdicts(rest, Job().ends())  # which looks for the deployment
    monkeypatch.setattr(server.client, "request", counted)
    jobs = [Job(number) for number in range(20)]
    assert await verdicts(rest, *(job.ends() for job in jobs)) == [Verdict.WRITTEN] * 20
    assert calls == ["filter", "bulk", "bulk_set_state", "events"]
    calls.clear()
    await verdicts(rest, *(known(job.ends()) for job in jobs))
    assert calls == ["filter"]


async def test_what_operators_did_is_heard_and_heeded(server: Server, rest: ChosenRecorder) -> None:
    jobs = {name: Job() for name in ("CANCELLING", "CANCELLED", "PAUSED", "FAILED")}
    await verdicts(rest, *(job.runs() for job in jobs.values()))
    for name, job in jobs.items():
        await server.set_state(uuid.UUID((await found(server, job))["id"]), name)
    assert await verdicts(rest, *(known(job.runs_in("upload")) for job in jobs.values())) == [
        Verdict.CANCELLING,
        Verdict.CANCELLED,
        Verdict.OLDER,
        Verdict.OLDER,
    ]
    assert await verdicts(rest, known(jobs["CANCELLING"].ends("CANCELLED"))) == [Verdict.WRITTEN]
    assert (await names(server, jobs["CANCELLING"]))[-2:] == ["Cancelling", "Cancelled"]
    assert await verdicts(rest, known(jobs["CANCELLED"].ends())) == [Verdict.CANCELLED]
    assert await verdicts(rest, known(jobs["PAUSED"].ends())) == [Verdict.WRITTEN]
    assert await verdicts(rest, known(jobs["FAILED"].ends())) == [Verdict.WRITTEN]


async def test_a_destination_that_is_picked_later(server: Server, rest: ChosenRecorder) -> None:
    job = Job()
    await verdicts(rest, job.waits())
    run = await found(server, job)
    await server.client.update_flow_run(uuid.UUID(run["id"]), tags=[*run["tags"], "an operator's"])
    begun = known(job.runs_in("upload"))
    tagged = replace(begun, tags=(*begun.tags, "destination:far"))
    assert await verdicts(rest, tagged) == [Verdict.WRITTEN]
    assert set((await found(server, job))["tags"]) == {*run["tags"], "an operator's", "destination:far"}


async def test_runs_that_are_not_there(server: Server, rest: ChosenRecorder) -> None:
    deleted, kept = Job(), Job()
    await verdicts(rest, deleted.runs(), kept.runs())
    await server.http.delete(f"/flow_runs/{(await found(server, deleted))['id']}")
    reports = [known(deleted.ends()), known(kept.ends()), known(Job().ends())]
    assert await verdicts(rest, *reports) == [Verdict.DELETED, Verdict.WRITTEN, Verdict.DELETED]
    # One deleted run among them would make Prefect's recorder lose the task runs of all.
    await tasks(server, kept, 4)


async def test_a_run_that_the_route_has_made(server: Server, rest: ChosenRecorder) -> None:
    job = Job()
    await server.recorder().record([job.runs_in("upload")])
    assert await verdicts(rest, known(job.ends())) == [Verdict.WRITTEN]
    assert (await server.names(job.id))[-1] == "Completed"


async def test_what_cannot_be_stored(server: Server, rest: ChosenRecorder) -> None:
    good, strange, long = Job(), Job(), Job()
    reports = [
        good.ends(),
        strange.ends(message="a\0b"),
        replace(long.ends(), parameters={"job_id": "x" * 600_000}),
    ]
    there = await verdicts(rest, *reports)
    assert there == [Verdict.WRITTEN, Verdict.WRITTEN, Verdict.REFUSED]
    assert (await found(server, strange))["state"]["message"] == "ab"


async def test_what_prefect_would_be_asked_for_ever(server: Server, rest: ChosenRecorder) -> None:
    """It answers that it may be asked again; others are told all the same."""
    good, bad = Job(), Job()
    await verdicts(rest, bad.waits())
    ends = known(bad.ends())
    reports = [good.ends(), replace(ends, tags=(*ends.tags, "a\0b"))]
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
        for _ in range(MOST_ERRORS):
            with pytest.raises(Unavailable):
                await rest.record(reports)
        assert await verdicts(rest, *reports) == [Verdict.WRITTEN, Verdict.REFUSED]
    assert await names(server, good) == ["Running", "Completed"]


async def test_only_who_has_the_login_gets_in(server: Server) -> None:
    async with (
        PrefectClient(server.embedded.api_url, auth_string="bartender:wrong") as client,
        open_recorder(client, None, results=None, by_route=False) as recorder,
    ):
        with pytest.raises(Refused, match="PREFECT_API_AUTH_STRING"):
            await recorder.record([Job().ends()])
