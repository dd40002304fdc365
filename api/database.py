"""The API's connections to PostgreSQL, and what is known when it does not answer."""

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from flows import database
from flows.database import Turns, sqlstate
from flows.errors import Unavailable

_CONNECTIONS = 12
_SECONDS = 5.0  # to connect, and to wait for a free connection
_COMMAND_SECONDS = 30.0
# What is answered with an error was not written, unless connection or server broke in the middle.
_BROKEN = frozenset({"08", "57", "58", "XX"})
_STARTING = "57P03"  # nothing was asked of it yet


def open_engine(url: URL, *, echo: bool) -> AsyncEngine:
    """Return an engine that gives up soon: a visitor is waiting."""
    return database.open_engine(
        url,
        echo=echo,
        hide_parameters=True,
        pool_size=_CONNECTIONS,
        max_overflow=0,  # what is above the pool's size is closed after each use: slower than to wait
        pool_timeout=_SECONDS,
        connect_args={"timeout": _SECONDS, "command_timeout": _COMMAND_SECONDS},
    )


def turns() -> Turns:
    """Return what lets visitors in to the connections of one engine."""
    return Turns(_CONNECTIONS, _SECONDS)


def may_be_written(error: Unavailable) -> bool:
    """Whether the connection broke in the middle, so that what was to be written may be there."""
    cause = error.__cause__
    if isinstance(cause, DBAPIError):
        state = sqlstate(cause)
        return state is None or (state[:2] in _BROKEN and state != _STARTING)
    # Python's own TimeoutError is of a command or of an attempt to connect: they look the same. All else is
    # an attempt to connect that failed, or no connection that was free.
    return isinstance(cause, TimeoutError)
