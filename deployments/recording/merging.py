"""What becomes of a run that Prefect has already: whose state counts, and how much of a report is new.

A job's row is right about how the job ended, so a report of an end that was not told before counts, whatever
was said meanwhile, but for *Cancelled*. Any other state of ours gives way to what somebody else did.
"""

import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from deployments.recording.reports import FINAL, StateReport, StateType, Verdict

LATE = "Late"
"""What Prefect calls a Scheduled run by itself when it has waited."""

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Now:
    """The state that Prefect has of a run."""

    id: uuid.UUID
    type: StateType
    name: str
    timestamp: datetime


def verdict(states: Sequence[StateReport], now: Now, told: Collection[uuid.UUID]) -> Verdict:
    """Return what becomes of the run's state; ``told``: the ids of all states that Prefect has of it."""
    last = states[-1]
    if any(state.id == now.id for state in states):
        return Verdict.WRITTEN
    if now.type == "CANCELLED":
        return Verdict.CANCELLED
    is_new = last.id not in told
    if is_new and last.type in FINAL:
        return Verdict.WRITTEN
    if now.type == "CANCELLING":
        return Verdict.CANCELLING
    if now.type == "PAUSED":
        return Verdict.OLDER
    if is_new and now.name == LATE and last.type != "SCHEDULED":
        return Verdict.WRITTEN
    return Verdict.WRITTEN if is_new and last.timestamp > now.timestamp else Verdict.OLDER


def additions(
    states: Iterable[StateReport], now: Now | None, told: Collection[uuid.UUID] = frozenset()
) -> list[StateReport]:
    """Return the states to add to those that are ``told``, each later than the one before, and than ``now``.

    That a run was Scheduled before what it is now is of no more interest.
    """
    latest = now.timestamp if now is not None else None
    added: list[StateReport] = []
    for state in states:
        if told and state.id in told:
            continue
        if latest is not None and state.timestamp <= latest:
            if not added and state.name == "Scheduled":
                continue
            state = replace(state, timestamp=latest + _TICK)
        latest = state.timestamp
        added.append(state)
    return added


@dataclass(frozen=True, slots=True)
class Totals:
    """What Prefect counts of a run's states."""

    start: datetime | None
    end: datetime | None
    run_time: timedelta
    run_count: int


def totals(states: Iterable[StateReport | Now], *, is_task: bool = False) -> Totals:
    """Count as Prefect's server does for a flow run, or its engine for a task run; in order of time."""
    start: datetime | None = None
    end: datetime | None = None
    run_time = timedelta()
    run_count = 0
    before: StateReport | Now | None = None
    for state in states:
        if before is not None and before.type == "RUNNING":
            run_time += state.timestamp - before.timestamp
        if before is not None and before.type in FINAL and state.type not in FINAL:
            end = None
        if state.type == "RUNNING":
            run_count += 1
            start = start or state.timestamp
        elif state.type in FINAL and not (is_task and start is None):
            start = start or state.timestamp
            end = end or state.timestamp
        before = state
    return Totals(start, end, run_time, run_count)
