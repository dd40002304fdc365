"""What errors of the database mean for us."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import sqlalchemy.exc

from flows.errors import Refused, Unavailable

DRIVER = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What the driver raises, besides OSError."""

_ALL = (*DRIVER, sqlalchemy.exc.DBAPIError)  # of migrations


_FULL = "53"  # the class of codes
_LOCKED = "55P03"  # for longer than the one who asked has patience
_STARTING = "57P03"  # nothing was asked of it yet


class NotAsked(Unavailable):
    """No connection could be had, so nothing was asked."""


class NotLetIn(NotAsked, Refused):
    """The database refuses the connection, so nothing was asked."""


@contextmanager
def unavailable_when_away() -> Iterator[None]:
    """Turn whatever the database or its driver raise into Unavailable, but for what is about our values."""
    try:
        yield
    except Exception as error:
        if (ours := unavailable(error)) is None:
            raise
        raise ours from error


def unavailable(error: BaseException) -> Unavailable | None:
    """Return what to raise in the place of an error of the database or its driver; None: the error itself."""
    if isinstance(error, OSError):  # which TimeoutError is, too
        return Unavailable("The database does not answer.")
    if not isinstance(error, _ALL) or is_about_values(error):
        return None
    if (state := sqlstate(error)) is None or state[:2] == _FULL or state == _LOCKED or broke(state):
        return Unavailable("The database does not answer.")
    return Refused("The database answers with an error.")


def not_asked(error: BaseException) -> NotAsked | None:
    """Return the same for an error of an attempt to connect."""
    ours = unavailable(error)
    if ours is None:
        return None
    return NotLetIn(str(ours)) if isinstance(ours, Refused) else NotAsked(str(ours))


def may_be_done(error: Unavailable) -> bool:
    """Whether what was asked may have been done though there was an error.

    What is answered with an error was not, unless connection or server broke in the middle.
    """
    if isinstance(error, NotAsked):
        return False
    state = None if error.__cause__ is None else sqlstate(error.__cause__)
    return state is None or (state[:2] in {"08", "57", "58", "XX"} and state != _STARTING)


def sqlstate(error: BaseException) -> str | None:
    """Return PostgreSQL's code of an error, where there is one: appendix A of its manual."""
    found: str | None = getattr(getattr(error, "orig", error), "sqlstate", None)
    return found


def broke(state: str) -> bool:
    """Whether the code is of a connection that broke, or a server that stops or starts."""
    return state[:2] == "08" or state in {"57P01", "57P02", _STARTING}


def is_about_values(error: BaseException) -> bool:
    """Whether to ask again with the same values is of no use."""
    if (state := sqlstate(error)) is not None:
        return state[:2] in {"22", "23"}  # data exception, integrity constraint violation
    # The driver's own complaint about a value, or the cause of what SQLAlchemy makes of that.
    original = getattr(getattr(error, "orig", None), "__cause__", error)
    return isinstance(original, ValueError) and not isinstance(original, asyncpg.ClientConfigurationError)
