import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.services.slurm import SlurmCluster
from tests.services.sshd import Sshd, SshServer, make_key
from tests.waiting import LONG_ENOUGH


async def log_in(ssh: SshServer, server: Sshd, **options: Any) -> asyncssh.SSHClientConnection:
    usual: dict[str, Any] = {
        "username": ssh.user,
        "client_keys": [str(ssh.key)],
        "known_hosts": str(ssh.known_hosts),
        "config": None,
    }
    return await asyncssh.connect(ssh.host, server.port, **{**usual, **options})


@pytest.fixture(params=["roomy", "stock"])
def server(ssh_server: SshServer, request: pytest.FixtureRequest) -> Iterator[Sshd]:
    server: Sshd = getattr(ssh_server, request.param)
    yield server
    server.thaw()
    server.start()


async def test_key_and_password_let_in_and_nothing_else(ssh_server: SshServer, server: Sshd) -> None:
    for way in ({}, {"client_keys": None, "password": ssh_server.password}):
        async with await log_in(ssh_server, server, **way) as connection:
            assert (await connection.run("id -un", check=True)).stdout == f"{ssh_server.user}\n"
    for wrong in ({"client_keys": None, "password": "wrong"}, {"username": "root"}):
        with pytest.raises(asyncssh.PermissionDenied):
            await log_in(ssh_server, server, **wrong)


async def test_another_host_key_is_noticed(ssh_server: SshServer, server: Sshd, tmp_path: Path) -> None:
    make_key(tmp_path / "other")
    known = tmp_path / "known_hosts"
    known.write_text(f"[{ssh_server.host}]:{server.port} {(tmp_path / 'other.pub').read_text()}")
    with pytest.raises(asyncssh.HostKeyNotVerifiable):
        await log_in(ssh_server, server, known_hosts=str(known))


async def test_files_without_a_shell(ssh_server: SshServer, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("and back")
    async with await log_in(ssh_server, ssh_server.sftp_only) as connection:
        assert (await connection.run("id -un")).stdout != f"{ssh_server.user}\n"
        async with connection.start_sftp_client() as sftp:
            await sftp.put(tmp_path / "there", "there")
            await sftp.get("there", tmp_path / "back")
    assert (tmp_path / "back").read_text() == "and back"
    assert (ssh_server.home / "there").stat().st_uid == ssh_server.state.account.uid


async def test_usual_limit_of_sessions(ssh_server: SshServer) -> None:
    async with await log_in(ssh_server, ssh_server.stock) as connection:
        processes = [await connection.create_process("cat") for _ in range(10)]
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.run("true")
        for process in processes:
            process.stdin.write_eof()
            await process.wait(check=True)
    async with await log_in(ssh_server, ssh_server.roomy) as connection:
        await asyncio.gather(*(connection.run("true", check=True) for _ in range(30)))


async def test_a_killed_listener_leaves_connections_and_comes_back(
    ssh_server: SshServer, server: Sshd
) -> None:
    async with await log_in(ssh_server, server) as connection:
        first = server.pid
        server.kill()
        with pytest.raises(ConnectionRefusedError):
            await log_in(ssh_server, server)
        assert (await connection.run("echo still here", check=True)).stdout == "still here\n"
        await asyncio.to_thread(server.start)
        assert server.pid not in (None, first)
        async with await log_in(ssh_server, server):
            pass


async def test_dropped_connections_leave_the_listener_and_other_servers(
    ssh_server: SshServer, server: Sshd
) -> None:
    (other,) = {ssh_server.roomy, ssh_server.stock} - {server}
    async with await log_in(ssh_server, other) as spared:
        connection = await log_in(ssh_server, server)
        listener = server.pid
        await asyncio.to_thread(server.drop_connections)
        await asyncio.wait_for(connection.wait_closed(), LONG_ENOUGH)
        assert server.pid == listener
        await spared.run("true", check=True)
    async with await log_in(ssh_server, server):
        pass


async def test_a_crash_ends_listener_and_connections(ssh_server: SshServer, server: Sshd) -> None:
    connection = await log_in(ssh_server, server)
    await asyncio.to_thread(server.crash)
    await asyncio.wait_for(connection.wait_closed(), LONG_ENOUGH)
    with pytest.raises(ConnectionRefusedError):
        await log_in(ssh_server, server)


async def test_a_frozen_server_does_not_answer_until_it_is_thawed(
    ssh_server: SshServer, server: Sshd
) -> None:
    server.freeze()
    connecting = asyncio.create_task(log_in(ssh_server, server))
    assert not (await asyncio.wait([connecting], timeout=1))[0]
    server.thaw()
    async with asyncio.timeout(LONG_ENOUGH), await connecting:
        pass


async def test_jobs_are_submitted_over_ssh(slurm_cluster: SlurmCluster, ssh_server: SshServer) -> None:
    async with await log_in(ssh_server, ssh_server.roomy) as connection:
        command = "sbatch --wait --output=name <<end\n#!/bin/sh\nid -un\nend"
        await connection.run(command, check=True)
        assert (await connection.run("cat name", check=True)).stdout == f"{ssh_server.user}\n"
