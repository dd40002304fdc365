"""Parts that the operator provides, and workers of their own."""

import asyncio
import subprocess
import sys
import uuid
from pathlib import Path

from deployments.serving.postgres import EmbeddedPostgres
from tests.e2e.conftest import StartWorker
from tests.e2e.service import Service
from tests.waiting import LONG_ENOUGH


async def output_of(process: subprocess.Popen[bytes]) -> str:
    output, _ = await asyncio.to_thread(process.communicate, timeout=LONG_ENOUGH)
    return output.decode()


async def test_a_configured_database(
    own_service: Service, postgres: EmbeddedPostgres, checkout: Path
) -> None:
    name = f"own_{uuid.uuid4().hex}"
    await postgres.create_database(name)
    dsn = postgres.url(name).render_as_string(hide_password=False)
    refused = own_service.command("serve", BARTENDER_DB_DSN=dsn)
    output = await output_of(refused)
    assert refused.returncode == 2
    assert "alembic upgrade head" in output
    assert len(output.splitlines()) == 1
    upgrade = [str(Path(sys.executable).parent / "alembic"), "upgrade", "head"]
    environment = {**own_service.operators_environment(), "BARTENDER_DB_DSN": dsn}
    await asyncio.to_thread(subprocess.run, upgrade, cwd=checkout, env=environment, check=True)
    await own_service.start(BARTENDER_DB_DSN=dsn)
    assert (await own_service.ended(await own_service.run("true")))["state"] == "ok"
    assert "BARTENDER_DB_DSN" not in own_service.environment  # what is configured is not published


async def test_workers_of_their_own(workerless: Service, workers: StartWorker) -> None:
    job_id = await workerless.run("true")
    workers("one")
    workers("two")
    assert (await workerless.ended(job_id))["state"] == "ok"
    jobs = [await workerless.run("sleep 0.2") for _ in range(10)]
    for each in jobs:
        assert (await workerless.ended(each))["state"] == "ok"
    twin = workerless.command("worker", BARTENDER_WORKER_NAME="one")
    assert "a worker named one is running already" in await output_of(twin)
    assert twin.returncode == 2


async def test_a_worker_of_ones_own_continues_after_a_restart(
    workerless: Service, workers: StartWorker
) -> None:
    first = workers()
    job_id = await workerless.run("echo ran >>ledger; while [ ! -e go ]; do sleep 0.05; done")
    await workerless.state_is(job_id, "running")
    first.terminate()
    assert await asyncio.to_thread(first.wait, 180) == 0
    workers()
    (workerless.job_dir(job_id) / "go").touch()
    assert (await workerless.ended(job_id))["state"] == "ok"
    assert (workerless.job_dir(job_id) / "ledger").read_text() == "ran\n"
