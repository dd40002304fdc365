"""What becomes of reports in all the ways in which they come to the route."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from deployments.recording import by_route, wire
from deployments.recording.reports import RunReport, Verdict
from flows.errors import Refused
from tests.deployments.recording.server import Server
from tests.deployments.recording.telling import Job, known


async def verdict(server: Server, report: RunReport) -> Verdict:
    (answer,) = await server.recorder().record([report])
    return answer.verdict


async def verdicts(server: Server, reports: Sequence[RunReport]) -> list[Verdict]:
    return [answer.verdict for answer in await server.recorder().record(reports)]


async def rows(server: Server, job: Job) -> list[object]:
    """Return all rows about a job's run, but for when they were written."""
    found: list[object] = []
    async with server.sql() as connection:
        for table, of in (
            ("flow_run", "id = $1"),
            ("flow_run_state", "flow_run_id = $1"),
            ("task_run", "flow_run_id = $1"),
            ("task_run_state", "task_run_id IN (SELECT id FROM task_run WHERE flow_run_id = $1)"),
            ("events", "resource_id = 'prefect.flow-run.' || $1::uuid"),
            ("event_resources", "event_id IN (SELECT id FROM flow_run_state WHERE flow_run_id = $1)"),
        ):
            statement = f"SELECT (to_jsonb(t) - 'updated')::text FROM {table} t WHERE {of} ORDER BY t.id"
            found.append([row[0] for row in await connection.fetch(statement, job.id)])
    return found


async def test_repeated_reports_change_nothing(server: Server) -> None:
    job = Job()
    for report in (job.waits(), job.runs_in("upload", "poll"), job.ends()):
        assert await verdict(server, report) is Verdict.WRITTEN
        before = await rows(server, job)
        assert await verdict(server, report) is Verdict.WRITTEN
        assert await verdict(server, known(report)) is Verdict.WRITTEN
        assert await rows(server, job) == before
    assert await server.names(job.id) == ["Scheduled", "Running", "Completed"]


async def test_reports_out_of_order(server: Server) -> None:
    job = Job()
    assert await verdict(server, job.ends()) is Verdict.WRITTEN
    before = await rows(server, job)
    for earlier in (job.runs_in("upload", "poll"), job.waits()):
        assert await verdict(server, earlier) is Verdict.OLDER
    assert await rows(server, job) == before


async def test_a_run_that_is_told_as_it_goes_is_as_one_that_is_told_at_its_end(server: Server) -> None:
    began = datetime.now(UTC) - timedelta(seconds=9)
    at_once, bit_by_bit = Job(began=began), Job(began=began)
    await verdict(server, at_once.ends())
    for report in (
        bit_by_bit.waits(),
        bit_by_bit.runs_in("upload"),
        bit_by_bit.runs_in("upload", "pick_destination", "submit"),
        # What was heard need not be said again.
        replace(bit_by_bit.ends(), states=bit_by_bit.ends().states[1:], known=True),
    ):
        assert await verdict(server, report) is Verdict.WRITTEN
    one, other = await server.run(at_once.id), await server.run(bit_by_bit.id)
    for column in (
        "start_time",
        "end_time",
        "total_run_time",
        "run_count",
        "expected_start_time",
        "state_type",
    ):
        assert one[column] == other[column], column
    tasks = [
        [
            (task["start_time"], task["end_time"], task["run_count"], task["flow_run_run_count"])
            for task in tasks
        ]
        for tasks in (await server.tasks(at_once.id), await server.tasks(bit_by_bit.id))
    ]
    assert tasks[0] == tasks[1]
    assert one["total_run_time"] == pytest.approx(0.49)


@pytest.mark.parametrize("known_before", [False, True])
async def test_what_an_operator_cancels_stays_so(server: Server, known_before: bool) -> None:
    cancelling, cancelled = Job(), Job()
    await verdicts(server, [cancelling.runs(), cancelled.runs()])
    await server.set_state(cancelling.id, "CANCELLING")
    await server.set_state(cancelled.id, "CANCELLED")
    # By a clock that is ahead, these are the newest.
    later = [cancelling.state("RUNNING", "Retrying", 3600), cancelled.state("RUNNING", "Retrying", 3600)]
    reports = [
        replace(cancelling.runs_in("upload"), states=(later[0],), known=known_before),
        replace(cancelled.runs_in("upload"), states=(later[1],), known=known_before),
    ]
    assert await verdicts(server, reports) == [Verdict.CANCELLING, Verdict.CANCELLED]
    assert (await server.names(cancelling.id))[-1] == "Cancelling"
    assert len(await server.tasks(cancelling.id)) == 1
    # The end settles it, though it came before the operator's word.
    assert await verdict(server, cancelling.ends("CANCELLED", after=0.2)) is Verdict.WRITTEN
    assert await server.names(cancelling.id) == ["Scheduled", "Running", "Cancelling", "Cancelled"]
    assert (await server.run(cancelling.id))["state"]["name"] == "Cancelled"
    assert await verdict(server, cancelled.ends("COMPLETED", after=3600)) is Verdict.CANCELLED
    assert (await server.run(cancelled.id))["state"]["name"] == "Cancelled"


async def test_the_rows_end_is_the_jobs_though_somebody_said_another(server: Server) -> None:
    for name in ("Failed", "Running", "Paused", "Pending", "Scheduled"):
        job = Job()
        await verdict(server, job.runs())
        await server.set_state(job.id, name.upper())
        assert await verdict(server, job.ends()) is Verdict.WRITTEN
        run = await server.run(job.id)
        assert (run["state"]["name"], run["next_scheduled_start_time"]) == ("Completed", None)


async def test_what_an_operator_pauses_stays_so_until_its_end(server: Server) -> None:
    job = Job()
    await verdict(server, job.waits())
    await server.set_state(job.id, "PAUSED")
    assert await verdict(server, replace(job.runs(), states=(job.state("RUNNING", "Running", 3600),))) is (
        Verdict.OLDER
    )
    assert (await server.run(job.id))["state"]["name"] == "Paused"


async def test_a_retry_is_not_undone_by_an_end_that_was_told(server: Server) -> None:
    job = Job()
    await verdict(server, job.ends("FAILED"))
    await server.set_state(job.id, "SCHEDULED", "AwaitingRetry")
    assert await verdict(server, job.ends("FAILED")) is Verdict.OLDER
    again = replace(job.runs(), states=(job.state("RUNNING", "Running", 60),))
    assert await verdict(server, again) is Verdict.WRITTEN
    run = await server.run(job.id)
    assert (run["run_count"], run["end_time"], run["state"]["name"]) == (2, None, "Running")
    task = replace(job.runs_in("upload").tasks[0], id=uuid.uuid4())
    states = tuple(
        replace(state, id=uuid.uuid4(), timestamp=job.began + timedelta(seconds=61 + number))
        for number, state in enumerate(task.states)
    )
    await verdict(server, replace(again, tasks=(replace(task, states=states),)))
    assert [task["flow_run_run_count"] for task in await server.tasks(job.id)] == [1, 1, 1, 1, 2]


async def test_what_prefect_calls_late_begins_all_the_same(server: Server) -> None:
    job = Job()
    await verdict(server, job.waits())
    await server.set_state(job.id, "SCHEDULED", "Late")
    assert await verdict(server, job.waits()) is Verdict.OLDER
    assert await verdict(server, job.runs()) is Verdict.WRITTEN
    assert await server.names(job.id) == ["Scheduled", "Late", "Running"]


async def test_a_deleted_run_is_not_made_anew_unless_it_is_said_to_be_new(server: Server) -> None:
    job = Job()
    await verdict(server, job.runs())
    assert (await server.http.delete(f"/flow_runs/{job.id}")).is_success
    assert await verdict(server, known(job.ends())) is Verdict.DELETED
    assert (await server.http.get(f"/flow_runs/{job.id}")).status_code == 404
    assert await verdict(server, job.ends()) is Verdict.WRITTEN
    assert len(await server.tasks(job.id)) == 4


async def test_batches_that_overlap(server: Server) -> None:
    jobs = [Job(number) for number in range(30)]
    one, other = server.recorder(), server.recorder()
    there = await asyncio.gather(
        one.record([job.runs_in("upload") for job in jobs]),
        other.record([job.ends() for job in reversed(jobs)]),
        one.record([job.waits() for job in jobs[10:20]]),
        other.record([job.ends() for job in jobs[5:25]]),
    )
    assert {answer.verdict for answers in there for answer in answers} <= {Verdict.WRITTEN, Verdict.OLDER}
    for job in jobs:
        run = await server.run(job.id)
        assert (run["state"]["name"], run["run_count"]) == ("Completed", 1)
        assert len(await server.names(job.id)) <= 3


async def test_a_row_that_cannot_be_written_keeps_no_other_back(server: Server) -> None:
    jobs = [Job(number) for number in range(7)]
    reports = [job.ends() for job in jobs]
    reports[2] = jobs[2].ends(message="a\0b")
    reports[4] = replace(reports[4], name="x" * 3_000 + "".join(str(uuid.uuid4()) for _ in range(300)))
    reports[6] = jobs[6].ends(message="half of a character: \ud800")
    answers = await server.recorder().record(reports)
    assert [answer.verdict for answer in answers] == [
        Verdict.REFUSED if number in {2, 4, 6} else Verdict.WRITTEN for number in range(7)
    ]
    assert all(answer.text for answer in answers if answer.verdict is Verdict.REFUSED)
    for number, job in enumerate(jobs):
        found = await server.http.get(f"/flow_runs/{job.id}")
        assert found.status_code == (404 if number in {2, 4, 6} else 200)


async def test_only_who_has_the_login_gets_in(server: Server) -> None:
    for login in ("bartender:wrong", "bartender:", server.login + "x"):
        with pytest.raises(Refused, match="PREFECT_API_AUTH_STRING"):
            await server.recorder(login).record([Job().ends()])
        with pytest.raises(Refused):
            await server.recorder(login).check()
    await server.recorder().check()


async def test_what_is_no_report_is_told_so(server: Server) -> None:
    for body, status in ((b"{}", 422), (b"\xff", 422), (b"x" * (wire.MOST_BYTES + 1), 413)):
        answer = await server.http.post(wire.PATH, content=body)
        assert answer.status_code == status, answer.text
    assert (await server.http.delete(wire.PATH)).status_code == 405
    twice = [Job().ends()] * 2  # which are told one after the other
    assert await verdicts(server, twice) == [Verdict.WRITTEN] * 2


async def test_more_than_a_request_may_have(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [Job(number) for number in range(5)]
    long = "x" * (wire.MOST_BYTES // 3)
    assert await verdicts(server, [job.ends(message=long) for job in jobs]) == [Verdict.WRITTEN] * 5
    assert await verdict(server, jobs[0].ends(message=long * 4)) is Verdict.REFUSED


@pytest.mark.parametrize("wrong_by", [timedelta(hours=-1), timedelta(hours=1)])
async def test_a_clock_that_is_wrong(
    server: Server, monkeypatch: pytest.MonkeyPatch, wrong_by: timedelta
) -> None:
    """By it, an operator's word would look older or newer than what came before it."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) + wrong_by

    monkeypatch.setattr(by_route, "datetime", Clock)
    job = Job(began=Clock.now() - timedelta(seconds=2))
    await verdict(server, job.runs())
    began = datetime.fromisoformat((await server.run(job.id))["start_time"])
    assert abs(datetime.now(UTC) - began) < timedelta(seconds=60)
    await server.set_state(job.id, "FAILED")
    assert await verdict(server, known(job.runs())) is Verdict.OLDER
    assert await verdict(server, job.ends()) is Verdict.WRITTEN
    assert await server.names(job.id) == ["Scheduled", "Running", "Failed", "Completed"]
