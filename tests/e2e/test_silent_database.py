"""The way from a worker to the database falls silent, and another one takes its place."""

import pytest
from sqlalchemy import make_url

from tests.e2e.conftest import StartWorker
from tests.e2e.going_on import RUNS_UNTIL_GO, assert_go_on, running
from tests.e2e.service import Service, appears, until
from tests.postgres_proxy import PostgresProxy

pytestmark = pytest.mark.long  # each part by itself: tests/deployments/test_silent_database.py


async def test_a_worker_whose_database_falls_silent(workerless: Service, workers: StartWorker) -> None:
    async with PostgresProxy(make_url(workerless.environment["BARTENDER_DB_DSN"])).listening() as proxy:
        worker = workers("cut-off", BARTENDER_DB_DSN=proxy.dsn)
        jobs = await running(workerless, 2)
        mark = len(workerless.log())
        proxy.fall_silent()
        jobs.append(await workerless.run(RUNS_UNTIL_GO))

        async def notices() -> bool:
            return "renew_lease: The database does not answer." in workerless.log()[mark:]

        await until(notices)
        proxy.come_back()
        await appears(workerless.job_dir(jobs[-1]) / "ledger")
        await assert_go_on(workerless, jobs)
        assert worker.poll() is None
        assert "Traceback" not in workerless.log()[mark:]
