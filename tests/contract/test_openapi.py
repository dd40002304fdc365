"""The server does what its OpenAPI document says: generated requests of a visitor who has jobs."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.contract import node
from tests.contract.conftest import token_of
from tests.e2e.service import Service
from tests.services.node import run

SCRIPT = """
mkdir -p output/deep
printf 'a\\0b' > output/deep/end.bin
echo '<p>' > 'output/a report.html'
echo out; echo err >&2
"""


@pytest_asyncio.fixture
async def jobs(service: Service) -> AsyncIterator[dict[str, list[int]]]:
    """Ids of a visitor's jobs: ended well, badly and without output; running; to be deleted and cancelled."""
    visitor, service.client = service.client, service.client_of("generated")
    try:
        running = [await service.run("echo begun; sleep 1000") for _ in range(5)]
        ended = [await service.run(SCRIPT + more) for more in ("", "exit 3", "rm stdout.txt")]
        doomed = [await service.run("true") for _ in range(8)]
        for job_id in ended + doomed:
            await service.ended(job_id)
        for job_id in running:
            await service.state_is(job_id, "running")
        yield {
            "ended": ended,
            "running": running[:2],
            "doomed": [*doomed, running[2]],
            "cancelled": running[3:] + ended[:1],
        }
        for job_id in running:
            await service.client.delete(f"/api/job/{job_id}")
    finally:
        await service.client.aclose()
        service.client = visitor


async def test_the_document_is_true(
    service: Service, jobs: dict[str, list[int]], checkout: Path, tmp_path: Path
) -> None:
    done = await asyncio.to_thread(
        run,
        *(sys.executable, "-m", "schemathesis.cli"),
        *("--config-file", str(node.HERE / "schemathesis.toml"), "run", f"{service.url}/api/openapi.json"),
        *("--header", f"Authorization: Bearer {token_of(service, 'generated')}", "--no-color"),
        cwd=tmp_path,
        environment={"PYTHONPATH": str(checkout), "JOBS": json.dumps(jobs)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
