from typing import Any

import pytest

from flows.destinations.scheduler import Status
from flows.errors import DestinationFailed, JobCancelled, TimeLimitExceeded
from flows.pilots import words
from flows.pilots.orders import VERSION, Order
from flows.pilots.words import Claim

CLAIM = Claim("node1-ab12", "c1")


def run(state: dict[str, Any]) -> dict[str, Any]:
    return {"id": "r", "state": state}


@pytest.mark.parametrize(
    "status",
    [
        Status(state="ended", returncode=0),
        Status(state="ended", returncode=3),
        Status(state="ended", returncode=137, failure=TimeLimitExceeded("It ran longer than 5 s.")),
        Status(state="ended", failure=JobCancelled("The job was cancelled.")),
        Status(state="ended", failure=DestinationFailed("The pilot was stopped.")),
    ],
)
def test_an_end_is_read_as_it_was_told(status: Status) -> None:
    read = words.status_of(run(words.ended(CLAIM, status)))
    assert (read.state, read.returncode, str(read.failure), type(read.failure)) == (
        status.state,
        status.returncode,
        str(status.failure),
        type(status.failure),
    )


def test_what_an_operator_sets_is_no_end_that_a_command_had() -> None:
    for kind, failure in (("COMPLETED", DestinationFailed), ("CANCELLED", JobCancelled)):
        status = words.status_of(run({"type": kind, "name": kind.title(), "data": None}))
        assert status.returncode is None
        assert isinstance(status.failure, failure)


def test_states_before_the_end() -> None:
    assert words.status_of(run(words.to_be_taken("new"))).state == "queued"
    assert words.status_of(run(words.taken(CLAIM))).state == "queued"
    assert words.status_of(run(words.begun(CLAIM))).state == "running"
    assert words.status_of(run(words.cancelling())).state == "running"


def test_a_lost_run_ends_or_is_run_again() -> None:
    assert words.status_of(run(words.lost(CLAIM, "gone", is_run_again=True))).state == "lost"
    end = words.status_of(run(words.lost(CLAIM, "gone", is_run_again=False)))
    assert isinstance(end.failure, DestinationFailed)


def test_whose_a_run_is() -> None:
    mine, other = words.taken(CLAIM), words.taken(Claim("node2-cd34", "c2"))
    assert words.is_of(CLAIM, [words.to_be_taken(""), mine])
    assert words.is_of(CLAIM, [mine, words.begun(CLAIM), words.cancelling()])
    assert not words.is_of(CLAIM, [mine, words.to_be_taken("again"), other])
    assert not words.is_of(CLAIM, [other, words.cancelling()])
    assert not words.is_of(CLAIM, [mine, words.cancelled()])


ORDER = Order(
    token="t",
    job_id=7,
    application="wc",
    command="wc",
    directory="/d",
    destination="there",
    filesystem="local",
)


def test_an_order_survives_prefect() -> None:
    assert Order.read(ORDER.parameters()) == ORDER
    assert (ORDER.turn, ORDER.again().turn) == (0, 1)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({**ORDER.parameters(), "version": VERSION + 1}, "update Bartender"),
        ({}, "no order"),
        (None, "no order"),
        ({"version": VERSION, "token": "t"}, "lacks"),
        ({**ORDER.parameters(), "more": 1}, "lacks"),
    ],
)
def test_what_is_no_order(parameters: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Order.read(parameters)
