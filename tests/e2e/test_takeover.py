"""Workers that are killed or frozen, or lose answers: their jobs go on, and nothing runs twice."""

import asyncio
import os
import re
import signal

from sqlalchemy import make_url

from tests.e2e.conftest import StartWorker
from tests.e2e.going_on import RUNS_UNTIL_GO, assert_go_on, running
from tests.e2e.service import Service, appears
from tests.postgres_proxy import PostgresProxy


async def test_jobs_of_a_killed_worker_go_on_with_another(workerless: Service, workers: StartWorker) -> None:
    first = workers("first")
    jobs = await running(workerless, 3)
    workers("second")
    first.kill()
    await assert_go_on(workerless, jobs)


async def test_a_frozen_worker_that_comes_back_changes_nothing(
    workerless: Service, workers: StartWorker
) -> None:
    first = workers("first")
    jobs = await running(workerless, 3)
    os.kill(first.pid, signal.SIGSTOP)
    workers("second")
    await assert_go_on(workerless, jobs)
    os.kill(first.pid, signal.SIGCONT)
    # It begins anew, and works.
    later = await running(workerless, 2)
    assert first.poll() is None
    for job_id in later:
        (workerless.job_dir(job_id) / "go").touch()
        assert (await workerless.ended(job_id))["state"] == "ok"
    for job_id in jobs:
        assert (await workerless.job(job_id))["state"] == "ok"
        assert (workerless.job_dir(job_id) / "ledger").read_text() == "ran\n"


async def test_the_successor_of_a_frozen_worker_takes_its_name(
    workerless: Service, workers: StartWorker
) -> None:
    first = workers("same")
    jobs = await running(workerless, 2)
    os.kill(first.pid, signal.SIGSTOP)
    workers("same")
    await assert_go_on(workerless, jobs)
    os.kill(first.pid, signal.SIGCONT)
    assert await asyncio.to_thread(first.wait, 180) == 2
    assert "a worker named same is running already" in workerless.log()


async def test_answers_that_are_lost(workerless: Service, workers: StartWorker) -> None:
    """The database gave the worker jobs, and the worker does not know."""
    first = workers("same")
    jobs = await running(workerless, 2)
    first.kill()
    async with PostgresProxy(make_url(workerless.environment["BARTENDER_DB_DSN"])).listening() as proxy:
        taken_over, claimed = (re.compile(rb"sh script.sh.*UPDATE %d\0" % n, re.DOTALL) for n in (2, 1))
        proxy.lose += [taken_over, claimed]
        workers("same", BARTENDER_DB_DSN=proxy.dsn)
        jobs.append(await workerless.run(RUNS_UNTIL_GO))
        await appears(workerless.job_dir(jobs[-1]) / "ledger")
        await assert_go_on(workerless, jobs)
        assert not proxy.lose
