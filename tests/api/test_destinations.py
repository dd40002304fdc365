import httpx
import pytest

from flows.jobs.destination_reports import Reports
from flows.jobs.job import State
from tests.api.conftest import Site


@pytest.fixture
async def operator(site: Site) -> httpx.AsyncClient:
    return await site.client("op", "operator")


async def test_only_operators(site: Site, alice: httpx.AsyncClient) -> None:
    response = await alice.get("/api/destinations")
    assert response.status_code == 403
    assert "'operator'" in response.json()["detail"]
    assert (await (await site.anonymous()).get("/api/destinations")).status_code == 403


async def test_nobody_has_said_anything(operator: httpx.AsyncClient) -> None:
    [local] = (await operator.get("/api/destinations")).json()
    assert (local["name"], local["scheduler"], local["filesystem"]) == ("local", "memory", "local")
    assert local["reachable"] is None
    assert local["jobs"] == {"new": 0, "queued": 0, "running": 0, "staging_out": 0}


async def test_what_workers_saw(site: Site, operator: httpx.AsyncClient) -> None:
    reports = Reports(site.store.pool)
    await reports.write("local", "first", latency=0.25, error=None)
    await reports.write("local", "second", latency=None, error="The host is away.")
    [local] = (await operator.get("/api/destinations")).json()
    assert (local["reachable"], local["latency"]) == (False, 0.25)
    assert local["last_error"] == "The host is away."
    await reports.write("local", "second", latency=0.5, error=None)
    [local] = (await operator.get("/api/destinations")).json()
    assert (local["reachable"], local["latency"], local["last_error"]) == (True, 0.5, "The host is away.")
    assert local["last_error_on"] is not None


async def test_jobs_at_a_destination(site: Site, operator: httpx.AsyncClient) -> None:
    for state in (State.QUEUED, State.RUNNING, State.RUNNING):
        job = await site.new_job()
        await site.store.set_destination(job.id, "local")
        await site.store.advance(job.id, state)
    ended = await site.ended_job({})
    await site.store.set_destination(ended.id, "local")
    [local] = (await operator.get("/api/destinations")).json()
    assert local["jobs"] == {"new": 0, "queued": 1, "running": 2, "staging_out": 0}
