"""A Prefect server that answers late: what it says was true when it was asked, and is not any more."""

import asyncio
from pathlib import Path

from tests.e2e.conftest import database, job_runs, prefect_client
from tests.e2e.service import CHECKOUT, MORE_DESTINATIONS, PICKER, Service, appears, until


async def test_jobs_that_have_ended_since_they_were_scheduled(workerless: Service, tmp_path: Path) -> None:
    """One that could be run again, if an operator asked for it, and one that could not."""
    (tmp_path / "config.yaml").write_text(MORE_DESTINATIONS)
    (tmp_path / "picker.py").write_text(PICKER)
    jobs = [await workerless.submit({"script.sh": "true", name: ""}) for name in ("unpickable", "other")]
    worker = workerless.module(
        *("tests.e2e.late", "worker"),
        variables={
            "LATE": str(tmp_path),
            "PYTHONPATH": str(CHECKOUT),
            "BARTENDER_CONFIG_FILENAME": str(tmp_path / "config.yaml"),
        },
    )
    try:
        await appears(tmp_path / "listed")
        before = [await workerless.ended(job_id) for job_id in jobs]
        assert [job["state"] for job in before] == ["error", "ok"]
        async with prefect_client(workerless) as prefect, database(workerless) as connection:

            async def let_go() -> bool:
                return not await connection.fetchval("SELECT count(*) FROM job WHERE owner IS NOT NULL")

            async def states() -> dict[object, object]:
                runs = [run for run in await job_runs(prefect) if run.parameters["job_id"] in jobs]
                return {run.id: (run.run_count, run.state) for run in runs}

            await until(let_go)
            told = await states()
            (tmp_path / "go").touch()
            await appears(tmp_path / "used")
            await until(let_go)
            assert await states() == told
        assert [await workerless.job(job_id) for job_id in jobs] == before
        assert f"Job {jobs[0]} is run again" not in workerless.log()
    finally:
        worker.kill()
        await asyncio.to_thread(worker.wait, 180)
