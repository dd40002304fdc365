"""An sshd, with a shell or without, behind a proxy."""

import asyncio
import secrets
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from flows.destinations.filesystem import Filesystem
from tests.flows.staging.sftp.remote import Proxy, opened
from tests.services.processes import send
from tests.services.sshd import Sshd, SshServer


@pytest.fixture(params=["stock", "sftp_only"])
def sshd(request: pytest.FixtureRequest, ssh_server: SshServer) -> Iterator[Sshd]:
    """With a shell, and without; the test may break it."""
    sshd: Sshd = getattr(ssh_server, request.param)
    yield sshd
    send(sshd.connections(), signal.SIGCONT)
    sshd.thaw()
    sshd.start()


@pytest_asyncio.fixture
async def proxy(sshd: Sshd) -> AsyncIterator[Proxy]:
    proxy = Proxy(sshd.port)
    server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    yield proxy
    server.close()


@pytest.fixture
def entry(ssh_server: SshServer) -> Iterator[Path]:
    entry = ssh_server.home / f"jobs-{secrets.token_hex(4)}"
    yield entry
    subprocess.run(["umount", "--lazy", entry], stderr=subprocess.DEVNULL, check=False)
    shutil.rmtree(entry, ignore_errors=True)


@pytest_asyncio.fixture
async def filesystem(
    ssh_server: SshServer, proxy: Proxy, entry: Path, tmp_path: Path
) -> AsyncIterator[Filesystem]:
    async with opened(ssh_server, proxy.port, entry, tmp_path) as filesystem:
        yield filesystem


@pytest.fixture
def job_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "jobs/1"
    directory.mkdir(parents=True)
    (directory / "README.md").write_text("hello\n")
    return directory
