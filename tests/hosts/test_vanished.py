"""A host that vanishes without a word, while it holds what others need."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process

import asyncpg
import pytest
from sqlalchemy import URL

from tests.hosts.holder import HOW
from tests.hosts.network import Host, Network

pytestmark = pytest.mark.usefixtures("reachable_postgres")

_LONG = 120.0
"""Seconds. It is over in 30; without settings against it, after a quarter of an hour or two hours."""


async def start(host: Host, url: str, how: str) -> Process:
    command = [*host.enter, sys.executable, "-m", "tests.hosts.holder", url, how]
    return await asyncio.create_subprocess_exec(*command, stdout=PIPE)


async def said(process: Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode()


async def test_both_sides_learn_of_it(network: Network, reachable_postgres: URL) -> None:
    """The database lets go of its locks, and the host of its connections, whatever they were doing."""
    url = reachable_postgres.set(drivername="postgresql").render_as_string(hide_password=False)
    host = network.hosts[0]
    holders = [await start(host, url, how) for how in HOW]
    try:
        for holder in holders:
            assert await said(holder) == "held\n"
        await asyncio.sleep(2)  # the answer fills what is between the two
        host.cut_off()
        connection = await asyncpg.connect(url)
        try:
            async with asyncio.timeout(_LONG):
                for how in HOW:
                    await connection.execute("SELECT pg_advisory_lock(hashtext($1))", how)
        finally:
            await connection.close()
        async with asyncio.timeout(_LONG):
            for holder in holders:
                assert (await said(holder)).startswith("lost")
    finally:
        host.come_back()
        for holder in holders:
            if holder.returncode is None:
                holder.kill()
            await holder.wait()
