"""PostgreSQL is restarted or killed under load: requests wait or get 503, and nothing is lost."""

import asyncio
import os
import signal
import uuid
from collections.abc import Awaitable

import httpx
import pytest

from tests.e2e.service import Service, until

SCRIPT = "echo ran >>ledger; sleep 0.3"
LONGEST = 60.0


async def answered(ask: Awaitable[httpx.Response], away: list[httpx.Response]) -> httpx.Response | None:
    """Return an answer; note it in ``away`` and return None where it is that the database is away."""
    answer = await ask
    if answer.status_code != 503:
        return answer
    assert answer.headers["Retry-After"] == "5"
    assert answer.json()["detail"] == "The database does not answer."
    away.append(answer)
    await asyncio.sleep(0.05)
    return None


async def submit(service: Service, away: list[httpx.Response]) -> int:
    headers = {"Content-Type": "application/zip", "Idempotency-Key": uuid.uuid4().hex}
    content = service.archive({"script.sh": SCRIPT})

    async def ask() -> httpx.Response | None:
        return await answered(
            service.client.put("/api/application/script/job", content=content, headers=headers), away
        )

    answer: httpx.Response = await until(ask, LONGEST)
    assert answer.status_code == 303, answer.text
    return int(answer.headers["Location"].rpartition("/")[2])


async def look_until_end(service: Service, job_id: int, away: list[httpx.Response]) -> list[str]:
    """Return all states that were seen."""
    seen: list[str] = []

    async def ask() -> bool:
        if (answer := await answered(service.client.get(f"/api/job/{job_id}"), away)) is None:
            return False
        assert answer.status_code == 200, answer.text
        job = answer.json()
        assert job["id"] == job_id
        seen.append(job["state"])
        return job["state"] in {"ok", "error"}

    await until(ask, 120)
    return seen


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_the_database_is_restarted_under_load(service: Service, number: signal.Signals) -> None:
    away: list[httpx.Response] = []

    async def visit() -> tuple[int, list[str]]:
        job_id = await submit(service, away)
        return job_id, await look_until_end(service, job_id, away)

    async def visits() -> list[tuple[int, list[str]]]:
        return [await visit() for _ in range(5)]

    visiting = [asyncio.create_task(visits()) for _ in range(6)]
    postmaster = service.data_dir / "postgres/data/postmaster.pid"
    for _ in range(2):
        await asyncio.sleep(1.5)  # with requests and jobs under way
        os.kill(int(postmaster.read_text().split("\n")[0]), number)
        await until(lambda: _is_back(service))
    found = [visit for visits in await asyncio.gather(*visiting) for visit in visits]
    assert len({job_id for job_id, _ in found}) == 30
    order = ["new", "queued", "running", "staging_out", "ok"]
    for job_id, seen in found:
        assert seen[-1] == "ok"
        assert seen == sorted(seen, key=order.index), job_id
        assert (service.job_dir(job_id) / "ledger").read_text() == "ran\n"
    listed = (await service.client.get("/api/job/?limit=1000")).json()
    assert {job["id"] for job in listed} >= {job_id for job_id, _ in found}
    assert '" 500' not in service.log()


async def _is_back(service: Service) -> bool:
    return (await service.client.get("/api/job/")).status_code == 200
