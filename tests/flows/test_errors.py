"""What the operator's log says of an error."""

import itertools

import asyncpg
import pytest
import sqlalchemy.exc

from flows.errors import Unavailable, unavailable_for_now, with_cause


def caused(*chain: BaseException) -> BaseException:
    """Return the first; each of the others is the cause of the one before."""
    for error, cause in itertools.pairwise(chain):
        error.__cause__ = cause
    return chain[0]


@pytest.mark.parametrize(
    ("chain", "said"),
    [
        ([Unavailable("It is away.")], "It is away."),
        ([Unavailable("It is\naway.")], "It is away."),
        ([TimeoutError()], "TimeoutError"),
        ([Unavailable("It is away."), TimeoutError()], "It is away. (TimeoutError)"),
        (
            [Unavailable("It is away."), OSError(2, "No"), ValueError()],
            "It is away. (FileNotFoundError: [Errno 2] No)",
        ),
        (
            [
                Unavailable("It is away."),
                sqlalchemy.exc.DBAPIError("SELECT", ["secret"], Exception("x")),
                asyncpg.CannotConnectNowError("starting up"),
            ],
            "It is away. (CannotConnectNowError 57P03: starting up)",
        ),
        (
            [Unavailable("It is away."), sqlalchemy.exc.DBAPIError("SELECT", ["secret"], Exception("x"))],
            "It is away. (DBAPIError: (builtins.Exception) x)",
        ),
    ],
)
def test_one_line_has_the_cause(chain: list[BaseException], said: str) -> None:
    assert with_cause(caused(*chain)) == said


def test_an_error_that_is_its_own_cause_is_told_once() -> None:
    error = ValueError("the only one")
    assert with_cause(caused(error, error)) == "the only one"
    other = ValueError("the other")
    assert with_cause(caused(error, other, error)) == "the only one (ValueError: the other)"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), "It cannot be done now (No space left on device)."),
        (RuntimeError("can't start new thread"), "It cannot be done now (no more threads)."),
    ],
    ids=str,
)
def test_what_a_machine_is_short_of_passes(error: Exception, said: str) -> None:
    with pytest.raises(Unavailable) as raised, unavailable_for_now("It cannot be done now"):
        raise error
    assert str(raised.value) == said


def test_a_mistake_of_ours_does_not_pass() -> None:
    with pytest.raises(RuntimeError, match="another"), unavailable_for_now("It cannot be done now"):
        raise RuntimeError("another")
