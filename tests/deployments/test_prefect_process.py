"""The process of Prefect's server: its queue of tasks looks less often, and it goes on listening."""

import subprocess
import sys
from pathlib import Path

from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, temporary_settings
from sqlalchemy import URL

from deployments.serving import prefect_process

PROGRAM = """
import asyncio
from datetime import timedelta
from deployments.serving import prefect_process
prefect_process.LOOK_INTERVAL = timedelta(seconds=600)
prefect_process.prepare()
from docket import Docket
from prefect.server.events import triggers
assert triggers.get_pg_notify_connection is prefect_process.lasting_connection
from prefect.server.api import background_workers

async def main():
    done = asyncio.Event()

    async def work(word):
        print(word)
        done.set()

    async with Docket(name="test", url="memory://") as docket:
        docket.register(work)
        async with background_workers.Worker(docket) as worker:
            assert worker.scheduling_resolution == timedelta(seconds=600)
            run = asyncio.create_task(worker.run_forever())
            while (session := worker._processing_session) is None:
                await asyncio.sleep(0.01)
            await session.cancellation_ready.wait()
            await docket.add(work)("begun at once")
            await done.wait()
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)
            print("ended")

asyncio.run(main())
"""


def test_new_work_is_begun_at_once(checkout: Path) -> None:
    """Though it looks only each 10 min: the test ends long before."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=checkout, capture_output=True, timeout=300)
    assert done.stdout.decode().split("\n")[:2] == ["begun at once", "ended"], done.stderr.decode()


async def test_the_session_that_hears_of_automations_is_not_ended_as_one_that_is_idle(
    database_url: URL,
) -> None:
    """As all other sessions of our database are: an automation that is made then would miss what happens."""
    url = database_url.render_as_string(hide_password=False)
    with temporary_settings({PREFECT_API_DATABASE_CONNECTION_URL: url}):
        connection = await prefect_process.lasting_connection()
    assert connection is not None
    try:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER DATABASE {name} SET idle_session_timeout = '60s'")
    finally:
        await connection.close()
    with temporary_settings({PREFECT_API_DATABASE_CONNECTION_URL: url}):
        connection = await prefect_process.lasting_connection()
    assert connection is not None
    try:
        assert await connection.fetchval("SHOW idle_session_timeout") == "0"
    finally:
        await connection.close()
