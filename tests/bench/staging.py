"""Staging by SSH, in turn with recursive SFTP and with tar through ssh."""

import os
import random
import shutil
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from tests.bench.clusters import Missing, account_directory, ssh_alone
from tests.bench.delay import delayed
from tests.bench.measuring import MIB, row
from tests.bench.ways import TarOverSsh, Way, ours, recursive_sftp, tar_over_ssh
from tests.services.sshd import SshServer

FILES, FILE_SIZE = 2000, 4 << 10
BIG = 500 * MIB
DELAY = 0.01
PART = 10
OURS, SFTP, TAR, LOGIN = "ours", "recursive SFTP", "tar \\| ssh", "tar \\| ssh with its login"

Make = Callable[[Path, int], None]


def small(directory: Path, part: int) -> None:
    content = random.Random(1).randbytes(FILE_SIZE)
    for n in range(FILES // part):
        (directory / f"{n}.txt").write_bytes(content)


def big(directory: Path, part: int) -> None:
    block = random.Random(2).randbytes(MIB)
    with (directory / "big").open("wb") as file:
        for _ in range(BIG // part // MIB):
            file.write(block)


async def staging(rounds: int) -> None:
    try:
        with ssh_alone() as server:
            port = server.stock.port
            await compare(f"{FILES} files x {FILE_SIZE >> 10} KiB", server, port, small, rounds, {})
            await compare(f"one file of {BIG // MIB} MiB", server, port, big, rounds, {})
            async with delayed(port, DELAY) as far_port:
                # One after the other takes minutes: a part of the files stands for all.
                name = f"{FILES} files, {2 * DELAY * 1000:.0f} ms round trip"
                await compare(name, server, far_port, small, rounds, {SFTP: PART})
    except Missing as missing:
        row("(l) staging by SSH", f"left out: {missing}")


async def compare(
    name: str, server: SshServer, port: int, make: Make, rounds: int, parts: Mapping[str, int]
) -> None:
    """Print a row for each direction."""
    async with AsyncExitStack() as stack:
        here = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        there = await stack.enter_async_context(account_directory(server))
        moves = Moves(server, there, here, make)
        ways: dict[str, Way] = {
            OURS: await stack.enter_async_context(ours(server, port, there, here)),
            TAR: await stack.enter_async_context(tar_over_ssh(server, port, here / "ssh")),
            SFTP: await stack.enter_async_context(recursive_sftp(server, port)),
            LOGIN: TarOverSsh(server, port, None),
        }
        for direction, move in (("up", moves.up), ("down", moves.down)):
            times: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(rounds):
                for way in ways:
                    part = parts.get(way, 1)
                    times[way].append(part * await move(ways[way], part))
            row(f"(l) {name}, {direction}", "; ".join(_figures(times)))


def _figures(times: Mapping[str, list[float]]) -> list[str]:
    figures = [f"{statistics.median(times[OURS]):.2f} s"]
    for way in (TAR, LOGIN, SFTP):
        ratio = statistics.median(a / b for a, b in zip(times[OURS], times[way], strict=True))
        figures.append(f"{ratio:.2f} x {way}" if way != SFTP else f"{1 / ratio:.1f} times as fast as {way}")
    return figures


class Moves:
    """Moves between two directories, each to a new place that is removed afterwards."""

    def __init__(self, server: SshServer, there: Path, here: Path, make: Make) -> None:
        self._server = server
        self._there = there
        self._here = here
        self._make = make
        self._made: dict[tuple[Path, int], Path] = {}

    async def up(self, way: Way, part: int) -> float:
        source, target = self._source(self._here, part), self._there / str(uuid.uuid4())
        return await self._seconds(lambda: way.up(source, target), source, target)

    async def down(self, way: Way, part: int) -> float:
        source, target = self._source(self._there, part), self._here / str(uuid.uuid4())
        target.mkdir()
        return await self._seconds(lambda: way.down(source, target), source, target)

    async def _seconds(self, move: Callable[[], Awaitable[None]], source: Path, target: Path) -> float:
        started = time.monotonic()
        await move()
        seconds = time.monotonic() - started
        assert _sizes(target) == _sizes(source)
        shutil.rmtree(target)
        return seconds

    def _source(self, place: Path, part: int) -> Path:
        """Make it when it is first asked for; all belongs to the account, which sends it from there."""
        if (place, part) not in self._made:
            directory = self._made[place, part] = place / str(uuid.uuid4())
            directory.mkdir()
            self._make(directory, part)
            uid = self._server.state.account.uid
            for path in (directory, *directory.iterdir()):
                os.chown(path, uid, uid)
        return self._made[place, part]


def _sizes(directory: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in directory.iterdir()}
