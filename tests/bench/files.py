"""Big things: archives, files, listings, uploads; their times, and what they cost the server and others."""

import asyncio
import random
import time
import zipfile
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from tests.bench.measuring import MIB, PeakMemory, row, running
from tests.bench.wire import Connection, download
from tests.e2e.service import Service

T = TypeVar("T")

MANY, MANY_SIZE = 2000, 16 << 10
BIG = 500 * MIB
ENTRIES, DEPTH = 10_000, 5
UPLOAD = 200 * MIB


def text(size: int) -> bytes:
    """Return lines of numbers, which compress as the output of programs does."""
    numbers = random.Random(1)
    return "".join(f"{n} {numbers.random():.6f} ATOM\n" for n in range(size // 18)).encode()[:size]


def fill(path: Path, size: int, block: bytes) -> None:
    with path.open("wb") as file:
        for _ in range(size // len(block)):
            file.write(block)


def prepare(directory: Path) -> None:
    """Put everything that is read into the directory of a job."""
    for name in ("many", "text", "dense", "listed"):
        (directory / name).mkdir()
    content = text(MANY * MANY_SIZE)
    for n in range(MANY):
        part = content[n * MANY_SIZE : (n + 1) * MANY_SIZE]
        (directory / "many" / f"{n}.txt").write_bytes(part)
    fill(directory / "text" / "big", BIG, text(MIB))
    fill(directory / "dense" / "big", BIG, random.Random(2).randbytes(MIB))
    fill(directory / "stdout.txt", UPLOAD, text(MIB))
    for n in range(ENTRIES):
        place = directory.joinpath("listed", *(str(n // 10**level % 10) for level in range(1, DEPTH - 1)))
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{n}.txt").touch()


async def with_others(service: Service, job_id: int, work: Awaitable[T]) -> tuple[T, str]:
    """Return what came out, and what it cost the server's memory and somebody else who asks all the while."""
    api = service.pid_of("api")
    assert api is not None
    slowest = 0.0

    async def ask() -> None:
        nonlocal slowest
        async with Connection(service) as other:
            while True:
                slowest = max(slowest, await other.seconds(f"/api/job/{job_id}"))
                await asyncio.sleep(0.02)

    asking = asyncio.create_task(ask())
    await asyncio.sleep(0.5)
    slowest, peak = 0.0, PeakMemory(api)
    try:
        result = await work
    finally:
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
    return result, f"+{peak.more / MIB:.0f} MiB, others {slowest * 1000:.0f} ms"


async def downloads_and_listings() -> None:
    async with running(2) as service:
        job_id = await service.run("true")
        await service.ended(job_id)
        await asyncio.to_thread(prepare, service.job_dir(job_id))
        job = f"/api/job/{job_id}"
        many = f"{MANY} files x {MANY_SIZE >> 10} KiB"
        one = f"one file of {BIG // MIB} MiB"
        for name, path in (
            (f".zip of {many}", "archive/many?archive_format=.zip"),
            (f".tar of {many}", "archive/many?archive_format=.tar"),
            (f".zip of {one}, text", "archive/text?archive_format=.zip"),
            (f".zip of {one}, random bytes", "archive/dense?archive_format=.zip"),
            (f".tar of {one}", "archive/text?archive_format=.tar"),
            (one, "files/text/big"),
            (f"stdout of {UPLOAD // MIB} MiB", "stdout"),
        ):
            work = asyncio.to_thread(download, service, f"{job}/{path}")
            got, cost = await with_others(service, job_id, work)
            row(f"(f) {name}: first byte, total", f"{got.first * 1000:.0f} ms, {got.total:.2f} s; {cost}")
        path = f"{job}/directories/listed?max_depth={DEPTH}"
        got, cost = await with_others(service, job_id, asyncio.to_thread(download, service, path))
        row(f"(g) directories, {ENTRIES} files, depth {DEPTH}", f"{got.total:.2f} s; {cost}")


async def upload() -> None:
    async with running(2) as service:
        first = await service.run("true")
        await service.ended(first)
        content = await asyncio.to_thread(_archive, service.directory / "upload.zip")
        before = most = await asyncio.to_thread(_used, service.data_dir)

        async def look() -> None:
            nonlocal most
            while True:
                most = max(most, await asyncio.to_thread(_used, service.data_dir))
                await asyncio.sleep(0.05)

        async def send() -> float:
            started = time.monotonic()
            await service.submit_archive(content)
            return time.monotonic() - started

        looking = asyncio.create_task(look())
        taken, cost = await with_others(service, first, send())
        looking.cancel()
        disk = f"{(most - before) / MIB:.0f} MiB of disk"
        row(f"(j) zip of {UPLOAD // MIB} MiB accepted", f"{taken:.2f} s; {disk}; {cost}")


def _archive(path: Path) -> bytes:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("script.sh", "true")
        archive.writestr("data", random.Random(3).randbytes(UPLOAD))
    return path.read_bytes()


def _used(data_dir: Path) -> int:
    """Return the bytes of disk that uploads and jobs take."""
    return sum(_blocks(file) for place in ("uploads", "jobs") for file in (data_dir / place).rglob("*"))


def _blocks(file: Path) -> int:
    try:
        return file.lstat().st_blocks * 512
    except FileNotFoundError:
        return 0
