"""What ``prefect worker start --type process`` reaches with the bare flow."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

from prefect.client.orchestration import PrefectClient

from tests.bench.checkouts import HERE
from tests.e2e.conftest import prefect_client
from tests.e2e.service import Service, until


async def runs_per_second(service: Service, runs: int) -> float:
    environment = {**os.environ, **service.environment, "PREFECT_LOGGING_LEVEL": "ERROR"}
    prefect = str(Path(sys.executable).parent / "prefect")

    async def command(*arguments: str) -> None:
        process = await asyncio.create_subprocess_exec(
            prefect, "--no-prompt", *arguments, cwd=HERE.path, env=environment, stdout=subprocess.DEVNULL
        )
        assert await process.wait() == 0

    await command("work-pool", "create", "stock", "--type", "process")
    await command("deploy", "tests/bench/bare.py:bare", "--name", "stock", "--pool", "stock")
    worker = await asyncio.create_subprocess_exec(
        *(prefect, "worker", "start", "--pool", "stock", "--limit", "4"),
        cwd=HERE.path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        async with prefect_client(service) as client:
            await _runs(client, 4)  # warm up
            started = time.monotonic()
            await _runs(client, runs)
            return runs / (time.monotonic() - started)
    finally:
        worker.terminate()
        await worker.wait()


async def _runs(client: PrefectClient, runs: int) -> None:
    deployment = await client.read_deployment_by_name("bare/stock")
    ids = [
        (await client.create_flow_run_from_deployment(deployment.id, parameters={"number": n})).id
        for n in range(runs)
    ]
    for flow_run_id in ids:

        async def is_over(flow_run_id: object = flow_run_id) -> bool:
            state = (await client.read_flow_run(flow_run_id)).state  # type: ignore[arg-type]
            return state is not None and state.is_final()

        await until(is_over, 300)
