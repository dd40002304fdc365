"""A server with a destination whose jobs come for their files, and what a worker does of such a job."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import yaml

from deployments.serving import asgi
from deployments.serving.postgres import EmbeddedPostgres
from flows.destinations.surroundings import Surroundings
from flows.disk.places import Place
from flows.filesystems.http import Filesystem
from flows.jobs.job import Job, State
from flows.ssh.connections import Connections
from flows.transfers.client import Credential
from flows.transfers.credentials import TransferKey
from flows.transfers.offers import Offer
from tests.all_jobs import AllJobs
from tests.api.conftest import CONFIG, Keys, Site, settings
from tests.api.transfers.cutting import CuttingProxy
from tests.e2e.service import turn_to_start
from tests.waiting import LONG_ENOUGH

MAX_FILES, MAX_BYTES = 3000, 50_000_000
DESTINATIONS: dict[str, Any] = {
    name: {"scheduler": {"type": "memory"}, "filesystem": filesystem}
    for name, filesystem in {
        "far": {"type": "http", "max_files": MAX_FILES, "max_bytes": MAX_BYTES},
        "other": {"type": "http"},
        "near": {"type": "local"},
    }.items()
}


@dataclass
class FarJob:
    """A job that was given to the destination ``far``."""

    job: Job
    offer: Offer
    filesystem: Filesystem
    key: TransferKey
    url: str

    @property
    def token(self) -> str:
        return str(self.job.token)

    @property
    def path(self) -> str:
        return f"{self.url}/api/transfer/{self.job.id}"

    def credential(self) -> Credential:
        secret, expires = self.offer.credential(self.key, self.offer.turn)
        return Credential(self.job.id, expires, secret)

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.credential().secret}"}

    async def appears(self, name: str) -> None:
        """Wait until there is something of this name of an attempt to send outputs."""
        async with asyncio.timeout(LONG_ENOUGH):
            while not list((self.offer.of_turn(0) / "drafts").glob(f"*/{name}")):
                await asyncio.sleep(0.01)

    async def collect(self) -> None:
        await self.filesystem.stage_out(self.offer.job_dir, self.token)


class FarSite:
    """A server of its own process, to be killed."""

    def __init__(self, directory: Path, store: AllJobs, environment: Mapping[str, str]) -> None:
        self.place = Place(directory / "data", directory / "data/jobs")
        self.store = store
        self.key = TransferKey.of(self.place.transfer_key)
        self._directory = directory
        self._environment = environment
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(100)
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        options = ("--access-log", "--log-level", "info")
        async with turn_to_start():
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    asgi.command("api.app:create_app", self._listener, *options),
                    env={**os.environ, **self._environment},
                    cwd=self._directory,
                    pass_fds=[self._listener.fileno()],
                    stdout=log,
                    stderr=log,
                )
            async with httpx.AsyncClient(timeout=LONG_ENOUGH) as http:
                (await http.get(f"{self.url}/api/health")).raise_for_status()

    async def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        if (process := self._process) is not None:
            process.send_signal(number)
            await asyncio.to_thread(process.wait, LONG_ENOUGH)

    async def restart(self, number: signal.Signals, ended: Callable[[], None]) -> None:
        """End the process and start another; ``ended`` is called between."""
        await self.kill(number)
        ended()
        await self.start()

    async def stop(self) -> None:
        await self.kill(signal.SIGTERM)
        self._listener.close()

    @property
    def log(self) -> Path:
        return self._directory / "log"

    @property
    def memory(self) -> int:
        """The most that the process ever had in memory, in bytes."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        [kibibytes] = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
        return int(kibibytes) << 10

    async def job(self, files: Mapping[str, bytes], destination: str = "far") -> FarJob:
        """Return a job that a worker has staged in."""
        job = await self.store.create(
            application="wc", submitter="alice", roles=[], command="wc", token=uuid.uuid4()
        )
        await self.store.set_destination(job.id, destination)
        directory = self.place.job_dir(job.id)
        directory.mkdir(parents=True)
        for name, content in files.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(content)
        surroundings = Surroundings(self.place, destination, Connections())
        filesystem = Filesystem(Filesystem.Config(), surroundings)
        await filesystem.stage_in(directory, str(job.token))
        return FarJob(job, Offer(directory, str(job.token)), filesystem, self.key, self.url)

    async def end(self, job: Job) -> None:
        for state in (State.QUEUED, State.RUNNING, State.STAGING_OUT):
            await self.store.advance(job.id, state)
        await self.store.complete(job.id)


@pytest_asyncio.fixture(scope="session")
async def far_server(
    running: Site, postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, keys: Keys
) -> AsyncIterator[FarSite]:
    directory = tmp_path_factory.mktemp("far")
    environment = settings(directory, postgres.url("api"), keys)
    (directory / "config.yaml").write_text(
        yaml.safe_dump({**CONFIG, "destinations": DESTINATIONS, "uploads": {"min_free_bytes": 0}})
    )
    server = FarSite(directory, running.store, environment)
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture
async def far_site(site: Site, far_server: FarSite) -> FarSite:
    """The server, with nothing in its database and on its disk."""
    shutil.rmtree(far_server.place.job_root, ignore_errors=True)
    far_server.place.job_root.mkdir(parents=True)
    return far_server


@pytest_asyncio.fixture
async def proxy(far_site: FarSite) -> AsyncIterator[CuttingProxy]:
    async with CuttingProxy(far_site.port).running() as proxy:
        yield proxy


@pytest_asyncio.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=LONG_ENOUGH) as client:
        yield client
