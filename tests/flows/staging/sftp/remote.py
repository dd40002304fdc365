"""Jobs on a machine behind a connection that can be watched and cut."""

import asyncio
import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from flows.destinations.filesystem import Filesystem
from flows.destinations.surroundings import Surroundings
from flows.destinations.types import FILESYSTEMS
from flows.disk.places import Place
from flows.ssh.connections import Connections
from tests.services.sshd import SshServer

TOKEN = "0e2ff7b8-2a6c-4d0c-9d1e-8f6c8a3c4b5d"
MIB = 1 << 20


class Proxy:
    """Between us and a server: counts the bytes that come from it, and cuts connections after so many."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.port = 0
        self.passed = 0
        self.cut_at: int | None = None

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._port)
        up = asyncio.create_task(self._pass(reader, there_writer, count=False))
        down = asyncio.create_task(self._pass(there_reader, writer, count=True))
        await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
        for task in (up, down):
            task.cancel()
        for one in (writer, there_writer):
            one.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: bool) -> None:
        while block := await reader.read(64 << 10):
            self.passed += len(block) if count else 0
            if self.cut_at is not None and self.passed > self.cut_at:
                self.cut_at = None
                return
            writer.write(block)
            await writer.drain()


@asynccontextmanager
async def opened(server: SshServer, port: int, entry: Path, tmp_path: Path) -> AsyncIterator[Filesystem]:
    host_key = " ".join(server.host_key.with_suffix(".pub").read_text().split()[:2])
    keys: dict[str, Any] = {"hostname": server.host, "port": port, "username": server.user}
    keys |= {"private_key": str(server.key), "host_key": host_key}
    configured = FILESYSTEMS.configured({"type": "sftp", "ssh_config": keys, "entry": str(entry)}, Path())
    connections = Connections()
    place = Place(tmp_path / "data", tmp_path / "jobs")
    filesystem = configured.make(Surroundings(place, "far", connections))
    try:
        yield filesystem
    finally:
        await filesystem.close()
        await connections.close()


def big(path: Path, mib: int) -> bytes:
    """Write a file that does not compress; return its hash."""
    block = secrets.token_bytes(MIB)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for n in range(mib):
            piece = n.to_bytes(8, "big") + block[8:]
            file.write(piece)
            digest.update(piece)
    return digest.digest()


def digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def hand_over(directory: Path) -> None:
    owner = directory.parent.stat()
    for path in [directory, *directory.rglob("*")]:
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def some_bytes_in(directory: Path, pattern: str) -> Callable[[], bool]:
    return lambda: any(
        path.is_file() and path.stat().st_size > MIB
        for draft in directory.glob(pattern)
        for path in draft.glob("*")
    )
