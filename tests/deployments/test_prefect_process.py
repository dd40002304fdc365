"""The queue of background tasks in Prefect's server, where it looks less often."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import asyncio
from datetime import timedelta
from deployments.serving import prefect_process
prefect_process.LOOK_INTERVAL = timedelta(seconds=600)
prefect_process.prepare()
from docket import Docket
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
