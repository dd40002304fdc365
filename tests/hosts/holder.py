"""A process on a host that keeps locks in the database: ``python -m tests.hosts.holder URL HOW``.

It says ``held`` once it has them, and ``lost`` when it learns that the database is gone.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable

import asyncpg

from flows.postgres import connect


async def idle(connection: asyncpg.Connection) -> None:
    await connection.execute("SELECT pg_advisory_lock(hashtext('idle'))")
    ended = asyncio.Event()
    connection.add_termination_listener(lambda _: ended.set())
    await connection.add_listener("channel", lambda *_: None)
    print("held", flush=True)
    await ended.wait()


async def in_transaction(connection: asyncpg.Connection) -> None:
    ended = asyncio.Event()
    connection.add_termination_listener(lambda _: ended.set())
    await connection.execute("BEGIN")
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext('in_transaction'))")
    print("held", flush=True)
    await ended.wait()


async def query(connection: asyncpg.Connection) -> None:
    await connection.execute("SELECT pg_advisory_lock(hashtext('query'))")
    print("held", flush=True)
    await connection.execute("SELECT pg_sleep(3600)")


async def answer(connection: asyncpg.Connection) -> None:
    """More of it than fits between the two, and slowly taken: the server waits until it can send."""
    await connection.execute("SELECT pg_advisory_lock(hashtext('answer'))")
    print("held", flush=True)

    async def take(_: bytes) -> None:
        await asyncio.sleep(0.1)

    await connection.copy_from_query(
        "SELECT repeat('x', 100000) FROM generate_series(1, 1000000)", output=take
    )


HOW: dict[str, Callable[[asyncpg.Connection], Awaitable[None]]] = {
    function.__name__: function for function in (idle, in_transaction, query, answer)
}


async def main(url: str, how: str) -> None:
    connection = await connect(url)
    try:
        await HOW[how](connection)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        print("lost", repr(error), flush=True)
    else:
        print("lost", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
