"""PostgreSQL's advisory locks, by name. A session that ends lets go of its own, however it ends."""

import asyncio
from contextlib import suppress

from flows.database.connecting import Connection
from flows.database.errors import DRIVER
from flows.waiting.events import happens

SIGN_INTERVAL = 5.0
"""Seconds between two signs of life of a session that keeps a lock."""

ANSWER_SECONDS = 10.0

# How pg_locks shows the one number of an advisory lock: in halves.
_END_HOLDER = """
    SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND ((classid::bigint << 32) | objid::bigint) = hashtext($1)::bigint
    AND ($2::double precision = 0 OR state_change < now() - make_interval(secs => $2::double precision))
"""


async def try_lock(connection: Connection, name: str) -> bool:
    """Take the lock for the connection's session; False when another session has it."""
    return bool(await connection.fetchval("SELECT pg_try_advisory_lock(hashtext($1))", name))


async def end_holder(connection: Connection, name: str, *, silent_for: float = 0.0) -> None:
    """End the session that has the lock, if it has said nothing for so many seconds."""
    await connection.execute(_END_HOLDER, name, silent_for)


async def until_lost(connection: Connection) -> None:
    """Give signs of life until the session ends, or is dead without anybody having noticed."""
    lost = asyncio.Event()
    with suppress(OSError, *DRIVER):
        connection.add_termination_listener(lambda _: lost.set())
        while not lost.is_set():
            async with asyncio.timeout(ANSWER_SECONDS):
                await connection.execute("SELECT 1")
            await happens(lost, within=SIGN_INTERVAL)
