"""From an address, as SQLAlchemy writes it, to a connection of the driver's."""

from typing import Any

import asyncpg
from sqlalchemy import URL
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

from flows import postgres
from flows.database.errors import not_asked

Connection = asyncpg.Connection


async def connect(url: URL, *, connect_seconds: float, answer_seconds: float) -> Connection:
    """Return a connection of the caller's own; what it is asked has so many seconds to be answered.

    Raises NotAsked.
    """
    try:
        seconds = {"timeout": connect_seconds, "command_timeout": answer_seconds}
        return await postgres.connect(**connect_options(url), **seconds)
    except Exception as error:
        if (ours := not_asked(error)) is None:
            raise
        raise ours from error


def connect_options(url: URL) -> dict[str, Any]:
    """Return what the driver has to be told to connect to an address."""
    _, options = PGDialect_asyncpg().create_connect_args(url)  # type: ignore[no-untyped-call]
    # SQLAlchemy's names, which addresses may have, for poolers that know of no prepared statements.
    options.pop("prepared_statement_name_func", None)
    if (size := options.pop("prepared_statement_cache_size", None)) is not None:
        options["statement_cache_size"] = size
    found: dict[str, Any] = options
    return found
