"""Machines that get another name, or do not come back: a worker sees the commands of its own machine only."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from prefect.states import Cancelling

from deployments.serving.supervisor import environment_of_running
from tests.e2e.conftest import database, job_runs, prefect_client, runs_of
from tests.e2e.service import MORE_DESTINATIONS, PICKER, Service, appears, until, written
from tests.flows.submitting import has_ended

pytestmark = pytest.mark.long  # the rules one by one: tests/flows/lifecycle/test_stranded.py

UNTIL_GO = "echo $$ >pid; echo ran >>ledger; while [ ! -e go ]; do sleep 0.05; done; echo out"

WAITS = "Waiting for the machine far, where the command is; no worker is there."

# What a container has for itself, and what ends with its first process.
CONTAINER = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
NAMED = ["sh", "-c", 'hostname "$0" && exec "$@"']


def skip_unless_possible(command: list[str]) -> None:
    trial = subprocess.run([*command, "trial", "true"], capture_output=True, text=True, check=False)
    if trial.returncode != 0:
        pytest.skip(f"no namespaces can be made here: {trial.stderr.strip()}")


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
    skip_unless_possible([*CONTAINER, *NAMED])
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


StartOn = Callable[[str], subprocess.Popen[bytes]]


@pytest_asyncio.fixture
async def machines(workerless: Service) -> AsyncIterator[StartOn]:
    """Start a worker beside `workerless` on a machine of another name."""
    machine = ["unshare", "--uts", *NAMED]
    skip_unless_possible(machine)
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str) -> subprocess.Popen[bytes]:
        started.append(workerless.module("api", "worker", variables={}, starter=[*machine, name]))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()
        await asyncio.to_thread(worker.wait, 180)


async def test_jobs_of_a_machine_that_stays_away(workerless: Service, machines: StartOn) -> None:
    """They say so, end when somebody wants that, and go on when it is back."""
    service = workerless
    far = machines("far")
    jobs = [await service.run(UNTIL_GO) for _ in range(4)]
    await written(*(service.job_dir(job_id) / "ledger" for job_id in jobs))
    processes = [int((service.job_dir(job_id) / "pid").read_text()) for job_id in jobs]
    for job_id in jobs:
        await service.state_is(job_id, "running")
    async with prefect_client(service) as prefect:
        await runs_of(service, prefect, jobs)
    far.kill()
    await asyncio.to_thread(far.wait, 180)
    async with database(service) as connection:
        await connection.execute("UPDATE worker SET lease_until = now() - interval '1 hour'")
    machines("near")

    async def all_say_so() -> bool:
        return all([(await service.job(job_id))["reason"] == WAITS for job_id in jobs])

    await until(all_say_so)
    cancelled, deleted, by_operator, waiting = jobs
    async with prefect_client(service) as prefect:
        runs = {run.parameters["job_id"]: run.id for run in await job_runs(prefect)}
        await service.client.post(f"/api/job/{cancelled}/cancel")
        await service.client.delete(f"/api/job/{deleted}")
        await prefect.set_flow_run_state(runs[by_operator], Cancelling(), force=True)
        assert (await service.ended(cancelled))["reason"] == "You cancelled the job."
        assert (await service.ended(by_operator))["reason"] == "The job was cancelled by an operator."

        async def told_and_removed() -> bool:
            states = [(await prefect.read_flow_run(runs[job_id])).state_name for job_id in jobs]
            return states == ["Cancelled"] * 3 + ["Running"] and not service.job_dir(deleted).exists()

        await until(told_and_removed)
    # Of the commands there nothing is known, and nothing was changed.
    assert not any(has_ended(pid) for pid in processes)
    commands = list(service.data_dir.glob("commands/worker-far/local/*-*"))
    assert len(commands) == len(jobs)
    assert not [path for path in commands if (path / "failure").exists()]
    assert (await service.job(waiting))["reason"] == WAITS

    machines("far")

    async def goes_on() -> bool:
        return (await service.job(waiting))["reason"] is None

    await until(goes_on)

    async def others_have_ended() -> bool:
        return [has_ended(pid) for pid in processes] == [True, True, True, False]

    await until(others_have_ended)
    (service.job_dir(waiting) / "go").touch()
    assert (await service.ended(waiting))["state"] == "ok"
    assert (service.job_dir(waiting) / "ledger").read_text() == "ran\n"

    async def forgotten() -> bool:
        return not any(path.exists() for path in commands)

    await until(forgotten)
