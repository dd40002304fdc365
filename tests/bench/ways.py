"""Ways to move a directory to another machine and back: ours, and those to compare it with."""

import asyncio
import shlex
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import asyncssh

from flows.destinations.filesystem import Filesystem
from flows.destinations.surroundings import Surroundings
from flows.destinations.types import FILESYSTEMS
from flows.disk.places import Place
from flows.ssh.connections import Connections
from tests.services.sshd import SshServer

CIPHER = "aes128-gcm@openssh.com"


class Way(Protocol):
    """Moves all that is in a directory; the target of ``up`` is not there yet, that of ``down`` is empty."""

    async def up(self, here: Path, there: Path) -> None: ...
    async def down(self, there: Path, here: Path) -> None: ...


class Ours:
    """What a job's stage in and stage out do. The name of the directory there is the job's token."""

    def __init__(self, filesystem: Filesystem) -> None:
        self._filesystem = filesystem

    async def up(self, here: Path, there: Path) -> None:
        await self._filesystem.stage_in(here, there.name)

    async def down(self, there: Path, here: Path) -> None:
        await self._filesystem.stage_out(here, there.name)


@asynccontextmanager
async def ours(server: SshServer, port: int, entry: Path, directory: Path) -> AsyncIterator[Way]:
    """Connected already, as a server is after its first job."""
    host_key = " ".join(server.host_key.with_suffix(".pub").read_text().split()[:2])
    ssh = {"hostname": server.host, "port": port, "username": server.user}
    ssh |= {"private_key": str(server.key), "host_key": host_key}
    configured = FILESYSTEMS.configured({"type": "sftp", "ssh_config": ssh, "entry": str(entry)}, Path())
    connections = Connections()
    place = Place(directory, directory)
    filesystem = configured.make(Surroundings(place, "there", connections))
    try:
        await filesystem.check()
        await filesystem.remove(directory / "nothing", str(uuid.uuid4()))
        yield Ours(filesystem)
    finally:
        await filesystem.close()
        await connections.close()


class RecursiveSftp:
    """One file after the other, on a connection that is there already."""

    def __init__(self, client: asyncssh.SFTPClient) -> None:
        self._client = client

    async def up(self, here: Path, there: Path) -> None:
        await self._client.put(str(here), str(there), recurse=True)

    async def down(self, there: Path, here: Path) -> None:
        here.rmdir()  # else it would be put inside
        await self._client.get(str(there), str(here), recurse=True)


@asynccontextmanager
async def recursive_sftp(server: SshServer, port: int) -> AsyncIterator[Way]:
    key = asyncssh.import_public_key(server.host_key.with_suffix(".pub").read_text())
    async with (
        asyncssh.connect(
            server.host,
            port,
            config=None,
            username=server.user,
            client_keys=[str(server.key)],
            known_hosts=([key], [], []),
            encryption_algs=[CIPHER],
        ) as connection,
        connection.start_sftp_client() as client,
    ):
        yield RecursiveSftp(client)


class TarOverSsh:
    """What one types in a shell. ``socket``: that of a connection which is there already, if there is one."""

    def __init__(self, server: SshServer, port: int, socket: Path | None) -> None:
        options = ["BatchMode=yes", f"UserKnownHostsFile={server.known_hosts}", f"Ciphers={CIPHER}"]
        options += [f"HostKeyAlias=[{server.host}]:{server.stock.port}"]
        options += [] if socket is None else [f"ControlPath={socket}"]
        ssh = ["ssh", "-F", "none", "-i", str(server.key), "-p", str(port)]
        ssh += [word for option in options for word in ("-o", option)]
        self._ssh = shlex.join([*ssh, f"{server.user}@{server.host}"])

    async def up(self, here: Path, there: Path) -> None:
        await _run(f"tar -C {here} -cf - . | {self._ssh} 'mkdir {there} && tar -C {there} -xf -'")

    async def down(self, there: Path, here: Path) -> None:
        await _run(f"{self._ssh} 'tar -C {there} -cf - .' | tar -C {here} -xf -")

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Have the connection that ``socket`` is of."""
        await _run(f"{self._ssh} -fNM")
        try:
            yield
        finally:
            await _run(f"{self._ssh} -q -O exit")


@asynccontextmanager
async def tar_over_ssh(server: SshServer, port: int, socket: Path) -> AsyncIterator[Way]:
    """Connected already."""
    way = TarOverSsh(server, port, socket)
    async with way.connected():
        yield way


async def _run(command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *("bash", "-o", "pipefail", "-c", command),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )
    status = await process.wait()
    assert status == 0, f"{command} ended with {status}"
