"""Whose state counts when a report meets what Prefect has, and what of it is new."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from deployments.recording.merging import Now, additions, totals, verdict
from deployments.recording.reports import StateReport, StateType, Verdict

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def state(kind: StateType, after: float, name: str | None = None) -> StateReport:
    timestamp = BEGAN + timedelta(seconds=after)
    return StateReport(id=uuid.uuid4(), type=kind, name=name or kind.title(), timestamp=timestamp)


def now(kind: StateType, after: float, name: str | None = None) -> Now:
    return Now(uuid.uuid4(), kind, name or kind.title(), BEGAN + timedelta(seconds=after))


def as_now(one: StateReport) -> Now:
    return Now(one.id, one.type, one.name, one.timestamp)


@pytest.mark.parametrize(
    ("theirs", "running", "ended"),
    [
        (now("SCHEDULED", 0), Verdict.WRITTEN, Verdict.WRITTEN),
        (now("SCHEDULED", 9), Verdict.OLDER, Verdict.WRITTEN),
        (now("SCHEDULED", 9, "Late"), Verdict.WRITTEN, Verdict.WRITTEN),
        (now("PENDING", 0), Verdict.WRITTEN, Verdict.WRITTEN),
        (now("RUNNING", 9), Verdict.OLDER, Verdict.WRITTEN),
        (now("PAUSED", 0), Verdict.OLDER, Verdict.WRITTEN),
        (now("CANCELLING", 0), Verdict.CANCELLING, Verdict.WRITTEN),
        (now("CANCELLING", 9), Verdict.CANCELLING, Verdict.WRITTEN),
        (now("CANCELLED", 0), Verdict.CANCELLED, Verdict.CANCELLED),
        (now("CANCELLED", 9), Verdict.CANCELLED, Verdict.CANCELLED),
        (now("FAILED", 0), Verdict.WRITTEN, Verdict.WRITTEN),
        (now("COMPLETED", 9), Verdict.OLDER, Verdict.WRITTEN),
    ],
    ids=lambda one: f"{one.name}-{one.timestamp:%S}" if isinstance(one, Now) else None,
)
def test_what_somebody_else_said(theirs: Now, running: Verdict, ended: Verdict) -> None:
    states = [state("SCHEDULED", -1), state("RUNNING", 1)]
    assert verdict(states, theirs, {theirs.id}) is running
    states.append(state("COMPLETED", 2))
    assert verdict(states, theirs, {theirs.id}) is ended
    # Once it was told, what they say since is theirs: Retry, above all.
    told = verdict(states, theirs, {theirs.id, states[-1].id})
    assert told is (ended if theirs.type == "CANCELLED" else told)
    assert told is not Verdict.WRITTEN


def test_what_we_said() -> None:
    states = [state("SCHEDULED", 0), state("RUNNING", 1), state("COMPLETED", 2)]
    ids = [one.id for one in states]
    for number in range(3):
        told = set(ids[: number + 1])
        assert verdict(states, as_now(states[number]), told) is Verdict.WRITTEN
        assert additions(states, as_now(states[number]), told) == states[number + 1 :]
        for earlier in range(1, number + 1):
            assert verdict(states[:earlier], as_now(states[number]), told) is Verdict.OLDER


def test_each_state_is_later_than_the_one_before() -> None:
    same = [state("SCHEDULED", 0), state("RUNNING", 0), state("COMPLETED", 0)]
    theirs = now("RUNNING", 5)
    for there in (None, theirs):
        added = additions(same, there)
        times = [one.timestamp for one in added]
        assert times == sorted(set(times))
        assert [one.id for one in added] == [one.id for one in (same if there is None else same[1:])]
        assert there is None or times[0] > there.timestamp


def test_counts_are_those_of_prefect() -> None:
    states = [
        state("SCHEDULED", 0),
        state("RUNNING", 1),
        state("SCHEDULED", 3, "AwaitingRetry"),
        state("RUNNING", 6),
        state("COMPLETED", 10),
    ]
    counted = totals(states)
    assert (counted.start, counted.end) == (states[1].timestamp, states[4].timestamp)
    assert (counted.run_time, counted.run_count) == (timedelta(seconds=6), 2)
    again = totals([*states, state("RUNNING", 20)])
    assert (again.end, again.run_count, again.run_time) == (None, 3, timedelta(seconds=6))
    never = [state("SCHEDULED", 0), state("CANCELLED", 4)]
    assert totals(never).start == totals(never).end == never[1].timestamp
    assert totals(never, is_task=True).start is totals(never, is_task=True).end is None
