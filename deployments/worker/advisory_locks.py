"""PostgreSQL's advisory locks, by name. A session that ends lets go of its own, however it ends."""

import asyncio
from contextlib import suppress
from typing import Any

import asyncpg
import sqlalchemy as sa
import sqlalchemy.exc
from sqlalchemy.ext.asyncio import AsyncConnection

from flows.waiting.events import happens

SIGN_INTERVAL = 5.0
"""Seconds between two signs of life of a session that keeps a lock."""

ANSWER_SECONDS = 10.0

# How pg_locks shows the one number of an advisory lock: in halves.
_END_HOLDER = sa.text("""
    SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND ((classid::bigint << 32) | objid::bigint) = hashtext(:name)::bigint
    AND (CAST(:silent_for AS double precision) = 0
         OR state_change < now() - make_interval(secs => CAST(:silent_for AS double precision)))
""")


async def try_lock(connection: AsyncConnection, name: str) -> bool:
    """Take the lock for the connection's session; False when another session has it."""
    lock = sa.select(sa.func.pg_try_advisory_lock(sa.func.hashtext(name)))
    locked: bool = (await connection.execute(lock)).scalar_one()
    return locked


async def end_holder(connection: AsyncConnection, name: str, *, silent_for: float = 0.0) -> None:
    """End the session that has the lock, if it has said nothing for so many seconds."""
    await connection.execute(_END_HOLDER, {"name": name, "silent_for": silent_for})


async def until_lost(connection: AsyncConnection) -> None:
    """Give signs of life until the session ends, or is dead without anybody having noticed."""
    lost = asyncio.Event()
    with suppress(OSError, sa.exc.SQLAlchemyError, asyncpg.InterfaceError):
        driver: Any = (await connection.get_raw_connection()).driver_connection
        driver.add_termination_listener(lambda _: lost.set())
        while not lost.is_set():
            async with asyncio.timeout(ANSWER_SECONDS):
                await connection.execute(sa.select(1))
            await happens(lost, within=SIGN_INTERVAL)
