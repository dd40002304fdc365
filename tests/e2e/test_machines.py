"""Machines that get another name, or do not come back: a worker sees the commands of its own machine only."""

import signal
import subprocess
from pathlib import Path

import pytest

from deployments.supervisor import environment_of_running
from tests.e2e.service import MORE_DESTINATIONS, PICKER, Service, appears, until
from tests.e2e.test_reconciliation import database

UNTIL_GO = "echo ran >>ledger; while [ ! -e go ]; do sleep 0.05; done; echo out"

# What a container has for itself, and what ends with its first process.
CONTAINER = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
NAMED = ["sh", "-c", 'hostname "$0" && exec "$@"']


class Containers(Service):
    """``bartender serve`` in one container after the other, each with a name of its own."""

    async def start_in(self, name: str) -> None:
        self._starter = [*CONTAINER, *NAMED, name]
        await self.start()

    async def end(self) -> None:
        """End the container, as its kernel does: all at once."""
        await self.stop(signal.SIGKILL)

        async def is_over() -> bool:
            return environment_of_running(self.data_dir) is None

        await until(is_over)
        # The next start removes it too, once it has the lock: until then it might be taken for ready.
        (self.data_dir / "environment").unlink(missing_ok=True)


async def test_a_server_in_a_new_container_continues_all_jobs(tmp_path: Path) -> None:
    trial = subprocess.run([*CONTAINER, *NAMED, "trial", "true"], capture_output=True, text=True, check=False)
    if trial.returncode != 0:
        pytest.skip(f"no namespaces can be made here: {trial.stderr.strip()}")
    (tmp_path / "picker.py").write_text(PICKER)
    service = Containers(tmp_path, MORE_DESTINATIONS)
    try:
        await service.start_in("first")
        ran = await service.submit({"script.sh": UNTIL_GO, "single": ""})
        await appears(service.job_dir(ran) / "ledger")
        waits = await service.submit({"script.sh": "echo ran >>ledger", "single": ""})
        await service.state_is(waits, "queued")
        finished = await service.run(UNTIL_GO)
        await service.state_is(finished, "running")
        await service.kill("worker", signal.SIGSTOP)  # it does not hear of the end
        (service.job_dir(finished) / "go").touch()
        [command] = service.data_dir.glob("commands/worker-first/local/*-*")
        await appears(command / "returncode")
        await service.end()

        await service.start_in("second")
        job = await service.ended(ran)
        assert (job["state"], job["reason"]) == (
            "error",
            "The command was killed before it could end by itself.",
        )
        for job_id in (waits, finished):
            assert (await service.ended(job_id))["state"] == "ok"
        for job_id in (ran, waits, finished):
            assert (service.job_dir(job_id) / "ledger").read_text() == "ran\n"
        async with database(service) as connection:
            workers = await connection.fetch("SELECT name, host FROM worker ORDER BY id")
        assert {worker["name"] for worker in workers} == {"worker-first"}
        assert [worker["host"].split()[0] for worker in workers] == ["first", "second"]
    finally:
        await service.end()
