"""Jobs that their submitters keep."""

import asyncio
from datetime import timedelta

import httpx

from flows.configuration.config import Config
from flows.jobs.kept import KeptJobs
from tests.api.conftest import CONFIG, Site

EXPIRING = Config.model_validate(CONFIG | {"retention_days": 0.5}).retention
NOTICE = timedelta(hours=1)
MAX_PINS = 10  # of the configuration file, when it says nothing


async def test_pinned_and_let_go(site: Site, alice: httpx.AsyncClient) -> None:
    job = await site.ended_job({})
    await KeptJobs(site.store.pool).announce(EXPIRING, NOTICE)
    assert (await alice.get(f"/api/job/{job.id}")).json()["expires_on"] is not None
    pinned = (await alice.post(f"/api/job/{job.id}/pin")).json()
    assert (pinned["pinned"], pinned["expires_on"]) == (True, None)
    assert (await alice.get(f"/api/job/{job.id}")).json() == pinned
    assert (await alice.post(f"/api/job/{job.id}/pin")).json()["pinned"]  # again
    assert not (await alice.delete(f"/api/job/{job.id}/pin")).json()["pinned"]
    assert not (await alice.delete(f"/api/job/{job.id}/pin")).json()["pinned"]


async def test_so_many_and_no_more_whoever_is_faster(site: Site, alice: httpx.AsyncClient) -> None:
    jobs = [await site.ended_job({}) for _ in range(MAX_PINS + 6)]
    answers = await asyncio.gather(*(alice.post(f"/api/job/{job.id}/pin") for job in jobs))
    statuses = [answer.status_code for answer in answers]
    assert sorted(statuses) == [200] * MAX_PINS + [409] * 6
    refused = answers[statuses.index(409)].json()["detail"]
    assert refused == "You have pinned 10 jobs, which is as many as you may; unpin another."
    pinned = [job for job, status in zip(jobs, statuses, strict=True) if status == 200]
    assert (await alice.post(f"/api/job/{pinned[0].id}/pin")).status_code == 200  # no more than it was
    await alice.delete(f"/api/job/{pinned[0].id}")
    assert (await alice.post(f"/api/job/{jobs[statuses.index(409)].id}/pin")).status_code == 200


async def test_pins_of_others_do_not_count(site: Site, alice: httpx.AsyncClient) -> None:
    bob = await site.client("bob")
    for _ in range(MAX_PINS):
        job = await site.ended_job({}, "bob")
        assert (await bob.post(f"/api/job/{job.id}/pin")).status_code == 200
    mine = await site.new_job()
    assert (await bob.post(f"/api/job/{mine.id}/pin")).status_code == 404
    assert (await bob.delete(f"/api/job/{mine.id}/pin")).status_code == 404
    assert (await alice.post(f"/api/job/{mine.id}/pin")).status_code == 200  # before its end, too


async def test_a_pinned_job_can_be_deleted(site: Site, alice: httpx.AsyncClient) -> None:
    job = await site.ended_job({})
    await alice.post(f"/api/job/{job.id}/pin")
    assert (await alice.delete(f"/api/job/{job.id}")).status_code == 204
    assert (await alice.post(f"/api/job/{job.id}/pin")).status_code == 404
