"""Cancel and delete, as far as the API does it: nobody runs jobs here."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from api import endings
from flows.errors import CommandFailed
from flows.jobs.job import Job, State, job_table
from flows.jobs.leases import worker_table
from tests.all_jobs import AllJobs
from tests.api.conftest import README_ZIP, Site
from tests.waiting import LONG_ENOUGH


async def submitted(site: Site, client: httpx.AsyncClient) -> Job:
    headers = {"Content-Type": "application/zip"}
    response = await client.put("/api/application/wc/job", content=README_ZIP, headers=headers)
    assert response.status_code == 303
    return await site.store.get(int(response.headers["Location"].rpartition("/")[2]))


async def worker(site: Site) -> AllJobs:
    """Return the jobs of one whose lease lasts for as long as the tests do."""
    lasting = datetime.now(UTC) + timedelta(days=1)
    lease = pg.insert(worker_table).values(id=7, name="w", host="here", lease_until=lasting)
    await site.store.pool.fetch(lease.on_conflict_do_nothing())
    return AllJobs(site.store.pool, 7)


async def begun(site: Site, state: State = State.RUNNING) -> Job:
    """Return a job that a worker runs, which is not there."""
    job = await site.new_job()
    await site.store.set_flow_run({job.id: uuid.uuid4()})
    [claimed] = await (await worker(site)).claim()
    assert claimed.id == job.id
    await site.store.set_destination(job.id, "local")
    for step in (State.QUEUED, State.RUNNING, State.STAGING_OUT):
        await site.store.advance(job.id, step)
        if step == state:
            break
    site.job_dir(job).mkdir(parents=True)
    return await site.store.get(job.id)


async def rows(site: Site) -> int:
    [[count]] = await site.store.pool.fetch(sa.select(sa.func.count()).select_from(job_table))
    return int(count)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "PATIENCE", 0.2)


async def test_a_job_that_nobody_began_is_cancelled_at_once(site: Site, alice: httpx.AsyncClient) -> None:
    job = await submitted(site, alice)
    response = await alice.post(f"/api/job/{job.id}/cancel")
    assert response.status_code == 200
    answer = response.json()
    assert (answer["state"], answer["reason_kind"]) == ("error", "cancelled")
    assert answer["reason"] == "You cancelled the job."
    assert (await alice.get(f"/api/job/{job.id}")).json() == answer
    assert site.uploads() == []


async def test_a_cancelled_job_is_not_begun(site: Site, alice: httpx.AsyncClient) -> None:
    job = await submitted(site, alice)
    await alice.post(f"/api/job/{job.id}/cancel")
    assert await site.store.without_flow_run(limit=10) == []
    # Its flow run was being made at that moment: a worker has to tell Prefect, and nothing else.
    await site.store.set_flow_run({job.id: uuid.uuid4()})
    mine = await worker(site)
    assert await mine.claim() == []
    [claimed] = await mine.claim_cancelled()
    assert claimed.state is State.ERROR
    [released] = await site.store.release([job.id])
    assert not released.cancel_requested
    assert await mine.claim_cancelled() == []


@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING, State.STAGING_OUT])
async def test_cancel_leaves_the_ending_to_the_worker(
    site: Site, alice: httpx.AsyncClient, state: State
) -> None:
    job = await begun(site, state)
    request = asyncio.create_task(alice.post(f"/api/job/{job.id}/cancel"))
    async with asyncio.timeout(LONG_ENOUGH):
        while not await (await worker(site)).to_cancel():
            await asyncio.sleep(0.01)
    assert not request.done()
    await site.store.fail(job.id, CommandFailed("it ended"))
    response = await request
    assert (response.status_code, response.json()["reason"]) == (200, "it ended")


@pytest.mark.usefixtures("impatient")
async def test_cancel_while_the_worker_is_away(site: Site, alice: httpx.AsyncClient) -> None:
    job = await begun(site)
    response = await alice.post(f"/api/job/{job.id}/cancel")
    assert (response.status_code, response.json()["state"]) == (202, "running")
    assert [waiting.id for waiting in await (await worker(site)).to_cancel()] == [job.id]


async def test_cancel_after_the_end(site: Site, alice: httpx.AsyncClient) -> None:
    job = await site.ended_job({"a": b"1"})
    response = await alice.post(f"/api/job/{job.id}/cancel")
    assert response.status_code == 409
    assert f"Job {job.id} has ended already" in response.json()["detail"]
    assert (await site.store.get(job.id)).state is State.OK


async def test_a_deleted_job_leaves_nothing(site: Site, alice: httpx.AsyncClient) -> None:
    job = await site.ended_job({"a": b"1"})
    (site.job_dir(job) / "deep" / "er").mkdir(parents=True)
    response = await alice.delete(f"/api/job/{job.id}")
    assert (response.status_code, response.content) == (204, b"")
    assert list((site.data_dir / "jobs").iterdir()) == []
    assert await rows(site) == 0
    assert (await alice.delete(f"/api/job/{job.id}")).status_code == 404


async def test_a_job_that_nobody_began_is_deleted_with_its_upload(
    site: Site, alice: httpx.AsyncClient
) -> None:
    job = await submitted(site, alice)
    assert (await alice.delete(f"/api/job/{job.id}")).status_code == 204
    assert site.uploads() == []
    assert await rows(site) == 0


@pytest.mark.usefixtures("impatient")
async def test_a_job_under_way_is_hidden_until_its_worker_ends_it(
    site: Site, alice: httpx.AsyncClient
) -> None:
    job = await begun(site)
    assert (await alice.delete(f"/api/job/{job.id}")).status_code == 204
    for path in ("", "/stdout", "/files/a", "/directories", "/archive"):
        assert (await alice.get(f"/api/job/{job.id}{path}")).status_code == 404
    assert (await alice.post(f"/api/job/{job.id}/cancel")).status_code == 404
    listed = await alice.get("/api/job/")
    assert (listed.json(), listed.headers["X-Total-Count"]) == ([], "0")
    # The command may run among its files still.
    assert site.job_dir(job).is_dir()
    assert [waiting.id for waiting in await (await worker(site)).to_cancel()] == [job.id]
    assert await site.store.to_purge() == []
    await site.store.fail(job.id, CommandFailed("it ended"))
    await site.store.release([job.id])
    assert [left.id for left in await site.store.to_purge()] == [job.id]


async def test_a_deleted_job_gives_its_idempotency_key_back(site: Site, alice: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/zip", "Idempotency-Key": "mine"}
    locations = []
    for _ in range(2):
        response = await alice.put("/api/application/wc/job", content=README_ZIP, headers=headers)
        locations.append(response.headers["Location"])
        assert (await alice.delete(locations[-1])).status_code == 204
    assert locations[0] != locations[1]


async def test_many_at_once(site: Site, alice: httpx.AsyncClient) -> None:
    job = await site.ended_job({"a": b"1"})
    answers = await asyncio.gather(*(alice.delete(f"/api/job/{job.id}") for _ in range(8)))
    assert {answer.status_code for answer in answers} <= {204, 404}
    assert 204 in {answer.status_code for answer in answers}
    other = await submitted(site, alice)
    answers = await asyncio.gather(*(alice.post(f"/api/job/{other.id}/cancel") for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}


@pytest.mark.parametrize("method", ["DELETE", "POST"])
async def test_jobs_of_others_are_not_there(site: Site, alice: httpx.AsyncClient, method: str) -> None:
    job = await site.ended_job({"a": b"1"}, "bob")
    path = f"/api/job/{job.id}" + ("/cancel" if method == "POST" else "")
    assert (await alice.request(method, path)).status_code == 404
    assert (site.job_dir(job) / "a").exists()


async def test_a_linked_directory_stays(site: Site, alice: httpx.AsyncClient, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("keep")
    job = await site.ended_job({})
    site.job_dir(job).rmdir()
    site.job_dir(job).symlink_to(tmp_path)
    assert (await alice.delete(f"/api/job/{job.id}")).status_code == 204
    assert (tmp_path / "precious").read_text() == "keep"
    assert not site.job_dir(job).is_symlink()


async def test_clients_send_a_content_type_without_content(site: Site, alice: httpx.AsyncClient) -> None:
    job = await site.ended_job({})
    headers = {"Content-Type": "application/json"}
    assert (await alice.delete(f"/api/job/{job.id}", headers=headers)).status_code == 204
