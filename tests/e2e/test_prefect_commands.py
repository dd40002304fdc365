"""Prefect's own commands, as an operator uses them from a checkout."""

import asyncio
import subprocess
import sys
from pathlib import Path

from prefect.client.orchestration import PrefectClient

from tests.e2e.conftest import prefect_command_environment
from tests.e2e.service import Service
from tests.waiting import LONG_ENOUGH


async def prefect_command(service: Service, checkout: Path, *arguments: str) -> str:
    completed = await asyncio.to_thread(
        subprocess.run,
        [str(Path(sys.executable).parent / "prefect"), "--no-prompt", *arguments],
        cwd=checkout,
        env={**prefect_command_environment(service), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=LONG_ENOUGH,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed.stdout


async def test_deploy_list_and_run(service: Service, checkout: Path) -> None:
    assert "run-job/bartender" in await prefect_command(service, checkout, "deploy", "--all")
    assert "run-job/bartender" in await prefect_command(service, checkout, "deployment", "ls")
    job_id = await service.run("echo ran >>ledger")
    await service.ended(job_id)  # still works after a deployment by `prefect deploy`
    output = await prefect_command(
        service, checkout, "deployment", "run", "run-job/bartender", "-p", f"job_id={job_id}"
    )
    assert "Created flow run" in output
    assert (service.job_dir(job_id) / "ledger").read_text() == "ran\n"


async def test_blocks_are_registered(service: Service, checkout: Path, prefect: PrefectClient) -> None:
    types = {block_type.slug for block_type in await prefect.read_block_types()}
    ours = {"command-environment", "slurm-rest-credentials", "ssh-credentials"}
    assert ours <= types  # the worker registers them
    assert "Command Environment" in await prefect_command(
        service, checkout, "block", "register", "-m", "blocks"
    )
