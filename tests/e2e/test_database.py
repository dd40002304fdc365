"""PostgreSQL is restarted, killed or refuses: requests wait or get 503, and nothing is lost."""

import asyncio
import os
import signal
import uuid
from collections.abc import Awaitable

import httpx
import pytest

from tests.e2e.conftest import database
from tests.e2e.service import Service, appears, until

SCRIPT = "echo ran >>ledger; sleep 0.3"
AWAY = "The database does not answer."
REFUSES = "The database answers with an error."


async def answered(ask: Awaitable[httpx.Response], away: list[httpx.Response]) -> httpx.Response | None:
    """Return an answer; note it in ``away`` and return None where it is that the database is away."""
    answer = await ask
    if answer.status_code != 503:
        return answer
    assert answer.headers["Retry-After"] == "5"
    assert answer.json()["detail"] in {AWAY, REFUSES}
    away.append(answer)
    await asyncio.sleep(0.05)
    return None


async def submit(service: Service, away: list[httpx.Response], script: str = SCRIPT) -> int:
    headers = {"Content-Type": "application/zip", "Idempotency-Key": uuid.uuid4().hex}
    content = service.archive({"script.sh": script})

    async def ask() -> httpx.Response | None:
        return await answered(
            service.client.put("/api/application/script/job", content=content, headers=headers), away
        )

    answer: httpx.Response = await until(ask)
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

    await until(ask)
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


UNTIL_GO = """
echo ran >>ledger
trap 'echo told >told; exit 1' TERM
while [ ! -e go ]; do sleep 0.05; done
"""

TO_ALL_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


async def running(service: Service) -> int:
    job_id = await submit(service, [], UNTIL_GO)
    await appears(service.job_dir(job_id) / "ledger")
    await service.state_is(job_id, "running")
    return job_id


async def is_refused(service: Service, ask: Awaitable[httpx.Response]) -> None:
    answer = await ask
    assert answer.status_code == 503, answer.text
    assert answer.headers["Retry-After"] == "5"
    assert answer.json()["detail"] == REFUSES


async def says(service: Service, mark: int, text: str) -> None:
    async def look() -> bool:
        return text in service.log()[mark:]

    await until(look)


async def test_a_database_that_takes_no_writes(service: Service) -> None:
    """As in a failover: sessions that were made meanwhile stay read-only after it."""
    job_id = await running(service)
    mark = len(service.log())

    async with database(service) as connection:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        try:
            await connection.execute(TO_ALL_SESSIONS)
            await until(lambda: _is_back(service))
            (service.job_dir(job_id) / "go").touch()
            await says(
                service, mark, f"Job {job_id} waits in collect: {REFUSES} (ReadOnlySQLTransactionError"
            )
            await says(service, mark, f"renew_lease: {REFUSES} (ReadOnlySQLTransactionError 25006: cannot ")
            await is_refused(service, service.client.post(f"/api/job/{job_id}/name", json="x"))
            assert (await service.job(job_id))["state"] == "running"
        finally:
            await connection.execute("SET default_transaction_read_only = off")
            await connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    await assert_ran_once(service, job_id, mark)
    # Those that are still there would refuse the next test's first write.
    async with database(service) as connection:
        await connection.execute(TO_ALL_SESSIONS)
    await until(lambda: _is_back(service))


async def test_a_column_that_is_away(service: Service) -> None:
    """As while the schema is being changed."""
    job_id = await running(service)
    mark = len(service.log())
    async with database(service) as connection:
        await connection.execute("ALTER TABLE job RENAME COLUMN reason TO other")
        try:
            (service.job_dir(job_id) / "go").touch()
            await says(service, mark, f"Job {job_id} waits in ")
            await says(service, mark, f"{REFUSES} (UndefinedColumnError 42703: column ")
            await is_refused(service, service.client.get(f"/api/job/{job_id}"))
            await is_refused(service, service.client.get("/api/job/"))
        finally:
            await connection.execute("ALTER TABLE job RENAME COLUMN other TO reason")
    await assert_ran_once(service, job_id, mark)


async def assert_ran_once(service: Service, job_id: int, mark: int) -> None:
    assert (await service.ended(job_id))["state"] == "ok"
    assert (service.job_dir(job_id) / "ledger").read_text() == "ran\n"
    assert not (service.job_dir(job_id) / "told").exists()
    assert "Traceback" not in service.log()[mark:]
    assert '" 500' not in service.log()[mark:]
