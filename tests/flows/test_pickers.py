"""Pickers that look at how the destinations are doing; the others are in configuration/test_config.py."""

from pathlib import Path

import pytest

from flows.configuration.config import Destination
from flows.jobs.users import User
from flows.pickers import Condition, PickerContext, pick_healthy, pick_least_busy

UP, DOWN, UNKNOWN = (Condition(reachable=reachable) for reachable in (True, False, None))
DESTINATION = Destination.model_validate({"scheduler": {"type": "memory"}, "filesystem": {"type": "local"}})


def context(*conditions: Condition) -> PickerContext:
    named = {f"d{number}": condition for number, condition in enumerate(conditions)}
    return PickerContext({}, dict.fromkeys(named, DESTINATION), Path(), named)


@pytest.mark.parametrize(
    ("conditions", "picked"),
    [
        ([UP, UP], "d0"),
        ([DOWN, UP, UP], "d1"),
        ([DOWN, UNKNOWN, UP], "d2"),
        ([DOWN, UNKNOWN], "d1"),
        ([DOWN, DOWN], "d0"),
    ],
)
def test_the_first_that_answers(conditions: list[Condition], picked: str) -> None:
    assert pick_healthy(Path(), "a", User("me"), context(*conditions)) == picked


def busy(queued: int, running: int, *, reachable: bool = True) -> Condition:
    return Condition(queued=queued, running=running, reachable=reachable)


@pytest.mark.parametrize(
    ("conditions", "picked"),
    [
        ([busy(1, 0), busy(0, 100)], "d1"),
        ([busy(1, 3), busy(1, 2), busy(1, 2)], "d1"),
        ([busy(5, 5), busy(0, 0, reachable=False)], "d0"),
        ([busy(5, 5, reachable=False), busy(1, 0, reachable=False)], "d1"),
    ],
)
def test_the_least_busy_of_those_that_answer(conditions: list[Condition], picked: str) -> None:
    assert pick_least_busy(Path(), "a", User("me"), context(*conditions)) == picked


def test_where_nothing_is_known_all_are_alike() -> None:
    alike = PickerContext({}, {"b": DESTINATION, "a": DESTINATION}, Path())
    assert pick_least_busy(Path(), "x", User("me"), alike) == "b"
    assert pick_healthy(Path(), "x", User("me"), alike) == "b"
