"""Staging by HTTP, as pilots do it, in turn with tar through ssh."""

import random
import statistics
import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from sqlalchemy import make_url

from flows.database.pool import Pool
from flows.destinations.surroundings import Surroundings
from flows.disk.places import Place
from flows.filesystems.http import Filesystem
from flows.ssh.connections import Connections
from flows.transfers.client import Credential, fetch_input, send_output
from flows.transfers.credentials import TransferKey
from flows.transfers.offers import Offer
from tests.all_jobs import AllJobs
from tests.bench.clusters import Missing, account_directory, ssh_alone
from tests.bench.measuring import MIB, PeakMemory, row
from tests.bench.staging import FILE_SIZE, FILES, OURS, TAR, Make, Moves, small
from tests.bench.ways import Way, tar_over_ssh
from tests.e2e.service import CONFIG, Service
from tests.services.sshd import SshServer

BIG = 1024 * MIB
FAR = "  far:\n    scheduler: {type: memory}\n    filesystem: {type: http}\n"


def big(directory: Path, part: int) -> None:
    block = random.Random(2).randbytes(MIB)
    with (directory / "big").open("wb") as file:
        for _ in range(BIG // part // MIB):
            file.write(block)


class ByHttp:
    """A job's input and outputs, each time of another job."""

    def __init__(self, service: Service, jobs: AllJobs) -> None:
        self._url = service.url
        self._place = Place(service.data_dir, service.data_dir / "jobs")
        self._key = TransferKey.of(self._place.transfer_key)
        self._filesystem = Filesystem(Filesystem.Config(), Surroundings(self._place, "far", Connections()))
        self._jobs = jobs

    async def up(self, here: Path, there: Path) -> None:
        job_dir, token = await self._job(here)
        await self._filesystem.stage_in(job_dir, token)
        await fetch_input(self._url, self._credential(job_dir, token), there)

    async def down(self, there: Path, here: Path) -> None:
        job_dir, token = await self._job(self._place.data_dir / "nothing")
        (self._place.data_dir / "nothing").mkdir(exist_ok=True)
        await self._filesystem.stage_in(job_dir, token)
        job_dir.unlink()
        job_dir.symlink_to(here)
        await send_output(self._url, self._credential(job_dir, token), there, {})
        await self._filesystem.stage_out(job_dir, token)

    async def _job(self, directory: Path) -> tuple[Path, str]:
        token = uuid.uuid4()
        job = await self._jobs.create(
            application="wc", submitter="bench", roles=[], command="wc", token=token
        )
        await self._jobs.set_destination(job.id, "far")
        job_dir = self._place.job_dir(job.id)
        job_dir.parent.mkdir(parents=True, exist_ok=True)
        job_dir.symlink_to(directory)
        return job_dir, str(token)

    def _credential(self, job_dir: Path, token: str) -> Credential:
        secret, expires = Offer(job_dir, token).credential(self._key, 0)
        return Credential(int(job_dir.name), expires, secret)


@asynccontextmanager
async def serving(directory: Path) -> AsyncIterator[tuple[Service, Way]]:
    """Without a worker, which would run the jobs."""
    service = Service(directory, CONFIG + FAR)
    await service.start("--no-worker")
    pool = Pool(make_url(service.environment["BARTENDER_DB_DSN"]))
    try:
        yield service, ByHttp(service, AllJobs(pool))
    finally:
        await pool.close()
        await service.stop()


async def transfers(rounds: int) -> None:
    try:
        with ssh_alone() as server:
            for name, make in (
                (f"{FILES} files x {FILE_SIZE >> 10} KiB", small),
                (f"one file of {BIG // MIB} MiB", big),
            ):
                await compare(name, server, make, rounds)
    except Missing as missing:
        row("(o) staging by HTTP", f"left out: {missing}")


async def compare(name: str, server: SshServer, make: Make, rounds: int) -> None:
    """Print a row for each direction."""
    async with AsyncExitStack() as stack:
        here = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        there = await stack.enter_async_context(account_directory(server))
        (here / "service").mkdir()
        service, http = await stack.enter_async_context(serving(here / "service"))
        tar = await stack.enter_async_context(tar_over_ssh(server, server.stock.port, here / "ssh"))
        pid = service.pid_of("api")
        assert pid is not None
        moves = Moves(server, there, here, make)
        ways: dict[str, Way] = {OURS: http, TAR: tar}
        for direction, move in (("up", moves.up), ("down", moves.down)):
            times: dict[str, list[float]] = {way: [] for way in ways}
            await move(http, 100)  # all is imported
            memory = PeakMemory(pid)
            for _ in range(rounds):
                for way in ways:
                    times[way].append(await move(ways[way], 1))
            ratio = statistics.median(a / b for a, b in zip(times[OURS], times[TAR], strict=True))
            seconds = statistics.median(times[OURS])
            row(
                f"(o) {name}, {direction}, by HTTP",
                f"{seconds:.2f} s; {ratio:.2f} x {TAR}; API at most {memory.more / MIB:.0f} MiB more",
            )
