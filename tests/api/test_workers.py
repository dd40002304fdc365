"""What workers are told of new jobs, and visitors of workers that are not there."""

import asyncio
import uuid
from typing import Any

from api.workers import Workers
from flows.database.pool import Pool
from flows.jobs.leases import Leases
from flows.jobs.not_begun import NO_WORKER
from flows.jobs.outbox import SUBMISSION_CHANNEL, Outbox
from flows.jobs.owned import OwnedJobs
from flows.jobs.store import JobStore
from tests.e2e.service import until


async def submit(store: JobStore) -> int:
    job = await store.create(
        application="works", submitter="me", roles=[], command="true", token=uuid.uuid4()
    )
    return job.id


async def test_a_job_that_no_worker_begins_says_so(pool: Pool) -> None:
    store = JobStore(pool)
    job_id = await submit(store)

    async def says_so() -> bool:
        return (await store.get(job_id)).reason == NO_WORKER

    async with Workers(Outbox(pool)):
        await until(says_so)
    number = await Leases(pool).begin("w", "here")
    await Outbox(pool).set_flow_run({job_id: uuid.uuid4()})
    [claimed] = await OwnedJobs(pool, number).claim()
    assert (claimed.id, claimed.reason) == (job_id, None)


async def test_told_workershear_of_many_jobs_at_once(pool: Pool) -> None:
    heard = asyncio.Event()
    words: list[str] = []

    def hear(_connection: Any, _pid: int, channel: str, _payload: object) -> None:
        words.append(channel)
        heard.set()

    listening = await pool.open()
    await listening.add_listener(SUBMISSION_CHANNEL, hear)
    async with Workers(Outbox(pool)) as told:
        for _ in range(100):
            told.wake()
        async with asyncio.timeout(60):
            await heard.wait()
        heard.clear()
        told.wake()
        async with asyncio.timeout(60):
            await heard.wait()
    await listening.close()
    assert words == [SUBMISSION_CHANNEL] * 2


async def test_a_failure_ends_nothing(pool: Pool) -> None:
    told = asyncio.Event()

    class Failing(Outbox):
        async def tell_workers(self) -> None:
            if not told.is_set():
                told.set()
                raise RuntimeError("a bug")
            await super().tell_workers()

    store = JobStore(pool)
    async with Workers(Failing(pool)) as told_workers:
        told_workers.wake()
        await told.wait()
        job_id = await submit(store)

        async def says_so() -> bool:
            return (await store.get(job_id)).reason == NO_WORKER

        await until(says_so)
