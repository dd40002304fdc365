"""Each line of the table in ``conclude``, and what must not be concluded."""

from typing import Any

import pytest

from flows.batch import conclusions
from flows.batch.conclusions import Conclusion, Doubt, conclude
from flows.batch.notes import Notes
from flows.destinations.scheduler import Status
from flows.errors import CommandFailed, DestinationFailed, JobCancelled, OutOfMemory
from flows.slurm.queries import Row

BEGUN, NEVER_BEGUN = Notes(), Notes(begun=False)
QUEUED, RUNNING, LOST = Status(state="queued"), Status(state="running"), Status(state="lost")
RUNS_ON: Doubt = "runs after its end"
UNPROVED: Doubt = "without proof"
LOST_AFTER = 600.0


def rows(*said: str) -> list[Row]:
    return [Row(str(n), "t", *word.split("/")) if "/" in word else Row(str(n), "t", word, "None")
            for n, word in enumerate(said)]  # fmt: skip


def ended(code: int) -> Status:
    return Status(state="ended", returncode=code)


def of(
    controller: list[Row], accounted: list[Row] | None = None, notes: Notes | None = None, doubted: Any = None
) -> Conclusion:
    return conclude(controller, accounted, notes, doubted, lost_after=LOST_AFTER)


CERTAIN: dict[str, tuple[Conclusion, Conclusion]] = {
    "waits": (of(rows("PENDING")), Conclusion(QUEUED)),
    "runs": (of(rows("RUNNING")), Conclusion(RUNNING)),
    "runs, looked after": (of(rows("RUNNING"), notes=BEGUN), Conclusion(RUNNING)),
    "of two the one that runs": (of(rows("PENDING", "RUNNING", "PENDING")), Conclusion(RUNNING)),
    "of two the one that waits": (of(rows("COMPLETED", "PENDING"), notes=Notes(3)), Conclusion(QUEUED)),
    "ends now": (of(rows("COMPLETING"), notes=Notes(3)), Conclusion(RUNNING, RUNS_ON)),
    "may end now": (of(rows("RUNNING"), doubted=(RUNS_ON, 5.0)), Conclusion(RUNNING, RUNS_ON)),
    "runs on": (of(rows("RUNNING"), notes=Notes(3), doubted=(RUNS_ON, 60.0)), Conclusion(ended(3), RUNS_ON)),
    "runs again": (of(rows("RUNNING"), notes=BEGUN, doubted=(RUNS_ON, 60.0)), Conclusion(RUNNING)),
    "is queued again": (of(rows("PENDING"), doubted=(RUNS_ON, 60.0)), Conclusion(QUEUED)),
    "ended": (of(rows("COMPLETED"), notes=Notes(0)), Conclusion(ended(0))),
    "ended in accounting": (of([], rows("FAILED"), Notes(3)), Conclusion(ended(3))),
    "ended, only the note says so": (of([], [], Notes(3)), Conclusion(ended(3))),
    "ended, accounting is away": (of([], None, Notes(3)), Conclusion(ended(3))),
    "cancelled before it began": (of([], [], Notes(None, True, False)), Conclusion(conclusions.CANCELLED)),
    "ended for the script alone": (of([], rows("RUNNING"), Notes(3)), Conclusion(ended(3))),
}

UNCERTAIN: dict[str, tuple[Conclusion, Conclusion]] = {
    "came to its end just now": (of(rows("COMPLETED"), notes=BEGUN), Conclusion(None, UNPROVED)),
    "not known just now": (of([], [], BEGUN), Conclusion(None, UNPROVED)),
    "not known for long": (of([], [], BEGUN, (UNPROVED, LOST_AFTER)), Conclusion(None, UNPROVED)),
    "another doubt": (of([], [], BEGUN, (RUNS_ON, 9999.0)), Conclusion(None, UNPROVED)),
    "not begun just now": (of([], [], NEVER_BEGUN, (UNPROVED, 30.0)), Conclusion(None, UNPROVED)),
    "accounting is away": (of([], None, BEGUN, (UNPROVED, 9999.0)), Conclusion(None)),
    "accounting is away, not begun": (of([], None, NEVER_BEGUN, (UNPROVED, 9999.0)), Conclusion(None)),
    "a new word": (of(rows("NEW_IN_2030"), [], BEGUN, (UNPROVED, 9999.0)), Conclusion(None)),
    "a new word and a code": (of(rows("NEW_IN_2030"), [], Notes(0), (UNPROVED, 9999.0)), Conclusion(None)),
    "accounting's old word": (of([], rows("RUNNING"), BEGUN), Conclusion(None, UNPROVED)),
}


@pytest.mark.parametrize(("conclusion", "expected"), [*CERTAIN.values(), *UNCERTAIN.values()],
                         ids=[*CERTAIN, *UNCERTAIN])  # fmt: skip
def test_conclusions(conclusion: Conclusion, expected: Conclusion) -> None:
    assert conclusion == expected


FAILURES: dict[str, tuple[Conclusion, type[Exception], str]] = {
    "cancelled": (of(rows("CANCELLED"), notes=BEGUN), JobCancelled, "was cancelled"),
    "out of memory with a code": (of(rows("OUT_OF_MEMORY"), notes=Notes(0)), OutOfMemory, "more memory"),
    "killed": (of([], rows("FAILED/RaisedSignal:9"), BEGUN), CommandFailed, "was killed"),
    "no code for long": (of(rows("FAILED"), notes=BEGUN, doubted=(UNPROVED, 31.0)), DestinationFailed,
                         "without a return code"),
    "lost": (of([], [], BEGUN, (UNPROVED, LOST_AFTER + 1)), DestinationFailed, "does not know the job"),
}  # fmt: skip


@pytest.mark.parametrize(("conclusion", "kind", "text"), FAILURES.values(), ids=FAILURES)
def test_failures(conclusion: Conclusion, kind: type[Exception], text: str) -> None:
    assert conclusion.status is not None
    assert conclusion.status.state == "ended"
    assert isinstance(conclusion.status.failure, kind)
    assert text in str(conclusion.status.failure)


@pytest.mark.parametrize("lost_after", [0.5, 600.0])
def test_what_never_began_is_lost_and_begins_without_a_doubt(lost_after: float) -> None:
    """After the shorter of the two times."""
    for age, status in ((min(30.0, lost_after), None), (min(30.0, lost_after) + 0.1, LOST)):
        conclusion = conclude([], [], NEVER_BEGUN, (UNPROVED, age), lost_after=lost_after)
        assert conclusion == Conclusion(status, UNPROVED if status is None else None)


def test_where_nothing_is_lost_what_never_began_was_taken_away() -> None:
    doubted: tuple[Doubt, float] = (UNPROVED, 31.0)
    gone = conclude([], [], NEVER_BEGUN, doubted, lost_after=LOST_AFTER, vanished=conclusions.CANCELLED)
    assert gone.status == conclusions.CANCELLED


@pytest.mark.parametrize("command_ended", [True, False])
def test_what_keeps_a_place(command_ended: bool) -> None:
    doubted = (RUNS_ON, 60.0) if command_ended else None
    assert of(rows("RUNNING"), notes=Notes(3), doubted=doubted).runs_on is command_ended
