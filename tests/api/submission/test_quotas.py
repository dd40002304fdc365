"""Submitters who may have so much and no more."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from flows.jobs.job import job_table
from flows.jobs.shares import submitter_table
from tests.api.conftest import README_ZIP, Site
from tests.api.processes import client_of, second_process
from tests.waiting import LONG_ENOUGH

ZIP = {"Content-Type": "application/zip"}
LIMITED = ["queuing", "hourly"]


async def put(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    return await client.put("/api/application/wc/job", content=README_ZIP, headers=ZIP | headers)


async def change(site: Site, table: sa.Table, **values: Any) -> None:
    await site.store.pool.fetch(sa.update(table).values(**values))


async def test_no_more_wait_than_may(site: Site) -> None:
    client = await site.client("queuing")
    answers = [await put(client) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [303, 303, 303, 429]
    assert answers[3].json()["detail"] == (
        "3 jobs of yours wait, which is as many as may; submit again when fewer do, or cancel some."
    )
    assert answers[3].headers["Retry-After"] == "60"
    assert [answer.headers["RateLimit"] for answer in answers] == [
        f'"queued";r={left}' for left in (2, 1, 0, 0)
    ]
    assert answers[0].headers["RateLimit-Policy"] == '"queued";q=3'
    assert len(site.uploads()) == len(await site.jobs("queuing")) == 3
    jobs = await site.jobs("queuing")
    await client.post(f"/api/job/{jobs[0].id}/cancel")
    assert (await put(client)).status_code == 303


async def test_no_more_are_submitted_within_an_hour_than_may(site: Site) -> None:
    client = await site.client("hourly")
    answers = [await put(client) for _ in range(3)]
    for job in await site.jobs("hourly"):  # which does not take them back
        assert (await client.delete(f"/api/job/{job.id}")).status_code == 204
    await site.store.pool.fetch(sa.delete(job_table))
    answers.append(await put(client))
    assert [answer.status_code for answer in answers] == [303, 303, 303, 429]
    assert answers[0].headers["RateLimit-Policy"] == '"submissions";q=3;w=3600'
    wait = int(answers[3].headers["Retry-After"])
    assert 0 < wait <= 3600
    assert answers[3].headers["RateLimit"] == f'"submissions";r=0;t={wait}'
    assert answers[3].json()["detail"] == (
        "You have submitted 3 jobs within an hour, which is as many as you may; submit again in 60 minutes."
    )
    hour = sa.text("interval '1 hour'")
    await change(site, submitter_table, hour_began_on=submitter_table.c.hour_began_on - hour)
    assert (await put(client)).headers["RateLimit"].startswith('"submissions";r=2;t=3')


async def test_no_more_is_kept_than_may(site: Site) -> None:
    client = await site.client("keeping")
    first = await put(client)
    assert first.headers["RateLimit"] == f'"bytes";r={1000 - len(README_ZIP)}'
    assert first.headers["RateLimit-Policy"] == '"bytes";q=1000;qu="content-bytes"'
    await change(site, job_table, bytes=1001 - len(README_ZIP))
    refused = await put(client)
    assert (refused.status_code, refused.json()["detail"]) == (
        507,
        f"Your jobs keep {1001 - len(README_ZIP)} bytes, and this one has {len(README_ZIP)}; "
        "you may keep 1000: delete jobs that you do not need any more.",
    )
    assert "Retry-After" not in refused.headers
    assert len(site.uploads()) == 1
    await change(site, job_table, bytes=1000)
    assert (await put(client)).json()["detail"] == (
        "Your jobs keep 1000 bytes; you may keep 1000: delete jobs that you do not need any more."
    )
    [job] = await site.jobs("keeping")
    await client.delete(f"/api/job/{job.id}")
    assert (await put(client)).status_code == 303


@pytest.mark.parametrize("has_one", [True, False])
async def test_a_body_beyond_a_quota_is_not_waited_for(site: Site, has_one: bool) -> None:
    client = await site.client("queuing" if has_one else "keeping")
    for _ in range(3 if has_one else 0):
        await put(client)

    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    token = client.headers["Authorization"]
    head = f"PUT /api/application/wc HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n"
    writer.write(f"{head}Content-Length: 7000000\r\nContent-Type: application/zip\r\n\r\n".encode())
    async with asyncio.timeout(LONG_ENOUGH):
        answer = await reader.readline()
    assert answer.startswith(b"HTTP/1.1 429" if has_one else b"HTTP/1.1 507")
    writer.close()


async def test_a_submission_that_is_sent_again_counts_once(site: Site) -> None:
    client = await site.client("hourly")
    again = [await put(client, **{"Idempotency-Key": "k"}) for _ in range(5)]
    assert len({answer.headers["Location"] for answer in again}) == 1
    assert again[-1].headers["RateLimit"].startswith('"submissions";r=2;')
    at_once = await asyncio.gather(*(put(client, **{"Idempotency-Key": "l"}) for _ in range(5)))
    assert {answer.status_code for answer in at_once} == {303}
    assert [(await put(client)).status_code for _ in range(2)] == [303, 429]
    # Beyond the quota, too.
    assert (await put(client, **{"Idempotency-Key": "k"})).headers["Location"] == again[0].headers["Location"]


@pytest.mark.parametrize("username", LIMITED)
async def test_processes_cannot_be_played_off_against_each_other(
    site: Site, tmp_path: Path, username: str
) -> None:
    async with second_process(site, tmp_path) as process:
        clients = [await site.client(username), await client_of(site, process, username)]
        answers = await asyncio.gather(*(put(client) for client in clients * 8))
        await process.end(signal.SIGTERM)
    assert sorted(answer.status_code for answer in answers) == [303] * 3 + [429] * 13
    assert len(site.uploads()) == len(await site.jobs(username)) == 3


async def test_what_is_left_can_be_asked_for(site: Site) -> None:
    client = await site.client("having all")
    await put(client)
    assert (await client.get("/api/whoami")).json() == {
        "username": "having all",
        "roles": [],
        "quotas": {
            "running": {"limit": 2, "used": 0},
            "queued": {"limit": 10, "used": 1},
            "bytes": {"limit": 100_000, "used": len(README_ZIP)},
            "submissions": {"limit": 5, "used": 1},
        },
    }
    free = await site.client("free")
    assert (await free.get("/api/whoami")).json() == {"username": "free", "roles": []}
    assert "RateLimit" not in (await put(free)).headers
