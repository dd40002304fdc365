"""SIGKILL right after each statement that changes something outside of the process.

Nothing is lost, and nothing runs twice.
"""

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.e2e.held_jobs import HeldJobs
from tests.e2e.service import CHECKOUT, Service, until, written
from tests.flows.submitting import has_ended

CONFIG = """
applications:
  script: {command_template: sh script.sh}
destinations:
  first: {scheduler: {type: memory, slots: 50}, filesystem: {type: local}}
  second: {scheduler: {type: memory, slots: 50}, filesystem: {type: local}}
"""

# Of the steps of a job, those that its flow run leaves to others or to threads, ...
KILLED = [
    "flows.jobs.owned:OwnedJobs.claim",
    "flows.local.commands:LocalCommands.add",
    "flows.local.commands:LocalCommands.launch",
    "flows.local.commands:LocalCommands.wait",
    "flows.local.commands:LocalCommands.forget",
    "flows.jobs.told:ToldJobs.still_owned",
    "deployments.recording.by_route:RouteRecorder.record",
    "deployments.worker.job_runs:_remove_results",
    "flows.jobs.told:ToldJobs.release",
]
# ... and the others, each in the order in which a job meets them.
HELD = [
    "flows.disk.durability:DurableDisk.sync",
    "flows.lifecycle.steps:_unpack",
    "flows.jobs.owned:OwnedJobs.set_destination",
    "flows.filesystems.local:Filesystem.stage_in",
    "flows.local.scheduling:LocalScheduler.submit",
    "flows.jobs.owned:OwnedJobs.submitted",
    "flows.jobs.owned:OwnedJobs.advance",
    "flows.filesystems.local:Filesystem.stage_out",
    "flows.jobs.owned:OwnedJobs.complete",
    "flows.filesystems.local:Filesystem.remove",
    "flows.local.scheduling:LocalScheduler.forget",
    "flows.lifecycle.ending:ended",
]
CANCEL = [
    "flows.local.processes:end_session",
    "flows.local.commands:LocalCommands.end",
    "flows.jobs.owned:OwnedJobs.fail",
    "flows.lifecycle.ending:leave_destination",
]
DELETE = ["flows.jobs.deletion:remove_files", "flows.jobs.end_requests:EndRequests.purge"]

LEDGER = "echo ran >>ledger; echo $$ >pid; "


class Place:
    """A server without a worker, and one worker at a time that dies at a point once it is told to."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.armed = service.directory / "armed"
        self.trap = {"KILLED_WHEN": str(self.armed), "PYTHONPATH": str(CHECKOUT)}
        self.held = HeldJobs(service)
        self._worker: subprocess.Popen[bytes] | None = None

    def start(self, point: str) -> None:
        self._worker = self.service.module("tests.e2e.killed", point, "worker", variables=self.trap)

    async def killed(self) -> None:
        assert self._worker is not None
        assert await asyncio.to_thread(self._worker.wait, 180) == -9
        self.armed.unlink()

    def end(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker.wait()


@pytest_asyncio.fixture(scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    service = Service(tmp_path_factory.mktemp("killed"), CONFIG)
    await service.start("--no-worker")
    place = Place(service)
    yield place
    place.end()
    await service.stop()


@pytest.fixture
def service(place: Place) -> Iterator[Service]:
    yield place.service
    place.end()
    place.armed.unlink(missing_ok=True)


async def assert_nothing_is_left(service: Service) -> None:
    async def clean() -> bool:
        left = [path for path in service.data_dir.glob("commands/*/*/*") if len(path.name) >= 36]
        left += [*(service.data_dir / "uploads").iterdir(), *(service.data_dir / "jobs").glob(".*")]
        return not left and not results(service)

    await until(clean)


def results(service: Service) -> list[Path]:
    return list((service.data_dir / "results").iterdir())


async def test_a_worker_at_each_step_of_jobs(place: Place, service: Service) -> None:
    """One worker is killed when each job is at its point; the next ends them, and those cancelled then."""
    jobs = {await service.run(LEDGER + "echo out"): point for point in HELD}
    cancelled = {await service.run(LEDGER + "sleep 1000"): point for point in CANCEL}
    for job_id, point in (jobs | cancelled).items():
        place.held.hold(job_id, point)
    worker = place.held.worker()
    try:
        await written(*(service.job_dir(job_id) / "pid" for job_id in cancelled))
        for job_id in cancelled:
            await service.state_is(job_id, "running")
        requests = [
            asyncio.create_task(service.client.post(f"/api/job/{job_id}/cancel")) for job_id in cancelled
        ]
        await place.held.all_are_there()
    finally:
        worker.kill()
        worker.wait()
    await asyncio.gather(*requests)
    worker = service.worker()
    try:
        for job_id, point in jobs.items():
            await assert_ran(service, job_id, point)
        for job_id, point in cancelled.items():
            assert (await service.ended(job_id))["reason"] == "You cancelled the job.", point
            assert (service.job_dir(job_id) / "ledger").read_text() == "ran\n", point
            assert has_ended(int((service.job_dir(job_id) / "pid").read_text())), point
        await assert_nothing_is_left(service)
    finally:
        worker.terminate()
        await asyncio.to_thread(worker.wait, 180)


async def test_a_worker_outside_of_the_steps(place: Place, service: Service) -> None:
    """Each worker ends the job of the one that was killed before it, and is killed at the next point."""
    jobs: dict[int, str] = {}
    for point in KILLED:
        place.start(point)
        for job_id, where in jobs.items():
            await assert_ran(service, job_id, where)
        place.armed.touch()
        jobs[await service.run(LEDGER + "echo out")] = point
        await place.killed()
    worker = service.worker()
    try:
        for job_id, where in jobs.items():
            await assert_ran(service, job_id, where)
        await assert_nothing_is_left(service)
    finally:
        worker.terminate()
        await asyncio.to_thread(worker.wait, 180)


async def assert_ran(service: Service, job_id: int, point: str) -> None:
    assert (await service.ended(job_id))["state"] == "ok", point
    assert (service.job_dir(job_id) / "ledger").read_text() == "ran\n", point
    assert (service.job_dir(job_id) / "stdout.txt").read_text() == "out\n", point


@pytest.mark.parametrize(
    "point", ["flows.jobs.store:JobStore.create", "flows.jobs.outbox:Outbox.tell_workers", *DELETE]
)
async def test_the_api(place: Place, service: Service, point: str) -> None:
    """Beside the server's own API, which is there to look at what became of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        api = service.module(
            *("tests.e2e.killed", point, "asgi", "api.app:create_app", str(listener.fileno())),
            variables={**service.environment, **place.trap},
            pass_fds=[listener.fileno()],
        )
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    worker = service.worker()
    try:
        async with httpx.AsyncClient(base_url=url, headers=service.client.headers, timeout=60) as client:
            before = {job["id"] for job in (await service.client.get("/api/job/?limit=1000")).json()}
            if point in DELETE:
                job_id = await service.run(LEDGER)
                await service.ended(job_id)
                place.armed.touch()
                with pytest.raises(httpx.HTTPError):
                    await client.delete(f"/api/job/{job_id}")
            else:
                place.armed.touch()
                await submit_to(client)
            assert await asyncio.to_thread(api.wait, 180) == -9
            place.armed.unlink()
            if point in DELETE:
                assert (await service.client.get(f"/api/job/{job_id}")).status_code == 404
                assert not service.job_dir(job_id).exists()
                return

            async def there() -> set[int]:
                jobs = (await service.client.get("/api/job/?limit=1000")).json()
                return {job["id"] for job in jobs} - before

            [job_id] = await until(there)
            assert (await service.ended(job_id))["state"] == "ok"
            assert (service.job_dir(job_id) / "ledger").read_text() == "ran\n"
    finally:
        api.kill()
        api.wait()
        worker.terminate()
        await asyncio.to_thread(worker.wait, 180)


async def submit_to(client: httpx.AsyncClient) -> None:
    """Submit a job; whether there is an answer before the end of the server is not known."""
    headers = {"Content-Type": "application/zip"}
    with suppress(httpx.HTTPError):
        await client.put(
            "/api/application/script/job", content=Service.archive({"script.sh": LEDGER}), headers=headers
        )
