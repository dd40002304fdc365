"""The cluster and the SSH server of the benchmark, for as long as it needs them."""

import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from tests.services import fixtures
from tests.services.packages import Missing
from tests.services.slurm import SlurmCluster
from tests.services.sshd import SshServer

__all__ = ["Missing", "account_directory", "cluster_and_ssh", "ssh_alone"]


@contextmanager
def ssh_alone() -> Iterator[SshServer]:
    """Raises Missing where it cannot be had."""
    state = fixtures.new_state("bench")
    try:
        server = SshServer(state)
        server.up()
        yield server
    finally:
        fixtures.remove(state)


@contextmanager
def cluster_and_ssh() -> Iterator[tuple[SlurmCluster, SshServer]]:
    """Raises Missing where they cannot be had."""
    state = fixtures.new_state("bench")
    try:
        cluster = SlurmCluster(state)
        cluster.up()
        server = SshServer(state, cluster.environment)
        server.up()
        yield cluster, server
    finally:
        fixtures.remove(state)


@asynccontextmanager
async def account_directory(server: SshServer) -> AsyncIterator[Path]:
    """Make a directory that the account can reach."""
    path = server.home / f"bench-{secrets.token_hex(4)}"
    path.mkdir(mode=0o700)
    os.chown(path, server.state.account.uid, server.state.account.uid)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
