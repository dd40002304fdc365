"""How SQL of ours reaches the database."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from typing import Any

import asyncpg
import sqlalchemy as sa
import sqlalchemy.exc
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from flows import postgres
from flows.errors import Refused, Unavailable

CLOSE_SECONDS = 3.0


class Turns:
    """Lets as many in as there are connections, in the order in which they came.

    The pool gives a connection that has become free to whoever asks in that moment, before those who wait:
    with many askers, some wait ten times as long as most.
    """

    def __init__(self, connections: int, seconds: float) -> None:
        self._free = asyncio.Semaphore(connections)
        self._seconds = seconds

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn and keep it inside of the block; raise what the pool raises after too long."""
        try:
            async with asyncio.timeout(self._seconds):
                await self._free.acquire()
        except TimeoutError as error:
            raise sa.exc.TimeoutError(f"no connection became free in {self._seconds} s") from error
        try:
            yield
        finally:
            self._free.release()


class Database:
    """Base of the classes that hold SQL. Every statement is a transaction by itself."""

    def __init__(self, engine: AsyncEngine, turns: Turns | None = None) -> None:
        self.engine = engine
        self._turn = turns.turn if turns else nullcontext
        # Without BEGIN and COMMIT, a third of the round trips is left.
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")

    @asynccontextmanager
    async def connection(self, engine: AsyncEngine | None = None) -> AsyncIterator[AsyncConnection]:
        """Raise Unavailable when the database cannot be asked now.

        With ``self.engine`` as the engine, statements can be put into one transaction.
        """
        with unavailable_when_away():
            async with self._turn(), (engine or self._autocommit).connect() as connection:
                yield connection


_CONNECTING = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What an attempt to connect raises; SQLAlchemy 2.0 leaves it as it is."""


@contextmanager
def unavailable_when_away() -> Iterator[None]:
    """Turn whatever the database or its driver raise into Unavailable, but for what is about our values."""
    try:
        yield
    except (OSError, TimeoutError, sa.exc.TimeoutError) as error:
        raise Unavailable("The database does not answer.") from error
    except (sa.exc.DBAPIError, *_CONNECTING) as error:
        if _is_about_values(error):
            raise
        if _is_away(sqlstate(error)):
            raise Unavailable("The database does not answer.") from error
        raise Refused("The database answers with an error.") from error


def sqlstate(error: BaseException) -> str | None:
    """Return PostgreSQL's code of an error, where there is one: appendix A of its manual."""
    found: str | None = getattr(getattr(error, "orig", error), "sqlstate", None)
    return found


def _is_away(state: str | None) -> bool:
    """Whether the server starts, stops or is full, or the connection broke."""
    return state is None or state[:2] in {"08", "53"} or state in {"57P01", "57P02", "57P03"}


def _is_about_values(error: BaseException) -> bool:
    """Whether to ask again with the same values is of no use."""
    if (state := sqlstate(error)) is not None:
        return state[:2] in {"22", "23"}  # data exception, integrity constraint violation
    # The driver's own complaint about a value is the cause of what SQLAlchemy makes of it.
    return isinstance(getattr(getattr(error, "orig", None), "__cause__", None), ValueError)


def open_engine(url: URL, *, connect_args: Mapping[str, Any] | None = None, **options: Any) -> AsyncEngine:
    """Return an engine that makes its connections anew when one of them can be of no more use."""
    connect_args = {"async_creator_fn": postgres.connect, **(connect_args or {})}
    engine = create_async_engine(url, connect_args=connect_args, **options)
    sa.event.listen(engine.sync_engine, "handle_error", _give_up_useless)
    return engine


async def close(engine: AsyncEngine) -> None:
    """Close the engine's connections, also where nobody is there any more to agree to that."""
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await engine.dispose()


def _give_up_useless(context: sa.engine.ExceptionContext) -> None:
    # Of a server that takes no writes (25006) or says nothing; after a failover the address leads to another.
    error = context.original_exception
    if isinstance(error, TimeoutError) or sqlstate(error) == "25006":
        context.is_disconnect = context.invalidate_pool_on_disconnect = True
