"""Machines behind a gateway."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from flows.errors import Unavailable
from flows.ssh.config import SshConfig
from flows.ssh.connections import Connections
from tests.services.sshd import Sshd, SshServer
from tests.waiting import until, until_it_works

# As gateways are: nobody works there.
GATEWAY = "ForceCommand /bin/false\nPermitTTY no\n"


@pytest.fixture
def gateway(ssh_server: SshServer) -> Iterator[Sshd]:
    with ssh_server.another("gateway", GATEWAY) as sshd:
        yield sshd


def behind(server: SshServer, sshd: Sshd, jump: dict[str, Any], **more: Any) -> SshConfig:
    return SshConfig.model_validate(server.login(sshd) | {"proxy_jump": jump} | more)


async def test_commands_and_files_by_way_of_a_gateway(
    ssh_server: SshServer, gateway: Sshd, connections: Connections
) -> None:
    host = connections.ssh_host(behind(ssh_server, ssh_server.stock, ssh_server.pinned(gateway)))
    done = await host.run("echo $SSH_CONNECTION; exit 3")
    assert done.status == 3
    assert done.stdout.split()[3] == str(ssh_server.stock.port)
    assert await host.streams()
    async with host.sftp() as sftp:
        assert await sftp.isdir(b".")
    await connections.close()
    await until(lambda: not gateway.connections())


async def test_all_behind_a_gateway_share_a_connection_to_it(
    ssh_server: SshServer, gateway: Sshd, connections: Connections
) -> None:
    jump = ssh_server.pinned(gateway)
    hosts = [
        connections.ssh_host(behind(ssh_server, sshd, jump)) for sshd in (ssh_server.stock, ssh_server.roomy)
    ]
    logins = gateway.log.read_text().count("Accepted publickey")
    await asyncio.gather(*(host.run("true") for host in hosts for _ in range(10)))
    await asyncio.gather(*(host.streams() for host in hosts))
    assert gateway.log.read_text().count("Accepted publickey") - logins == 1
    await connections.close()


async def test_one_gateway_behind_another(
    ssh_server: SshServer, gateway: Sshd, connections: Connections
) -> None:
    with ssh_server.another("inner", GATEWAY) as inner:
        jump = ssh_server.pinned(inner, proxy_jump=ssh_server.pinned(gateway))
        host = connections.ssh_host(behind(ssh_server, ssh_server.stock, jump))
        assert (await host.run("echo on")).stdout == "on\n"
        await connections.close()


async def test_both_host_keys_are_checked(
    ssh_server: SshServer, gateway: Sshd, connections: Connections
) -> None:
    wrong = " ".join(ssh_server.key.with_suffix(".pub").read_text().split()[:2])
    jump = ssh_server.pinned(gateway)
    bad_gateway = behind(ssh_server, ssh_server.stock, jump | {"host_key": wrong})
    with pytest.raises(Unavailable, match=f":{gateway.port} has a host key that is not trusted"):
        await connections.ssh_host(bad_gateway).run("true")
    bad_host = behind(ssh_server, ssh_server.stock, jump, known_hosts=None, host_key=wrong)
    with pytest.raises(Unavailable, match=f":{ssh_server.stock.port} has a host key that is not trusted"):
        await connections.ssh_host(bad_host).run("true")


async def test_what_is_wrong_with_the_gateway_is_said(
    ssh_server: SshServer, gateway: Sshd, connections: Connections
) -> None:
    jump = ssh_server.pinned(gateway)
    nobody = behind(ssh_server, ssh_server.stock, jump | {"private_key": None, "password": "wrong"})
    with pytest.raises(Unavailable, match=f":{gateway.port} refuses the login"):
        await connections.ssh_host(nobody).run("true")
    nowhere = behind(ssh_server, ssh_server.stock, jump, port=1)
    with pytest.raises(Unavailable, match=f":{gateway.port} does not let us through to 127.0.0.1:1 "):
        await connections.ssh_host(nowhere).run("true")
    with ssh_server.another("closed", "AllowTcpForwarding no\n") as closed:
        refused = behind(ssh_server, ssh_server.stock, ssh_server.pinned(closed))
        with pytest.raises(Unavailable, match=f":{closed.port} does not let us through"):
            await connections.ssh_host(refused).run("true")
        await connections.close()


async def test_a_gateway_that_goes_and_comes_back(
    ssh_server: SshServer, gateway: Sshd, connections: Connections
) -> None:
    host = connections.ssh_host(behind(ssh_server, ssh_server.stock, ssh_server.pinned(gateway)))
    running = asyncio.create_task(host.run("sleep 1000"))
    await until(lambda: bool(ssh_server.stock.connections()))
    await asyncio.to_thread(gateway.crash)
    with pytest.raises(Unavailable):
        await running
    said = ""
    while f":{gateway.port} does not answer" not in said:
        with pytest.raises(Unavailable) as caught:
            await host.run("true")
        said = str(caught.value)
        await asyncio.sleep(0.01)
    await asyncio.to_thread(gateway.start)
    assert (await until_it_works(lambda: host.run("echo on"))).stdout == "on\n"


async def test_only_the_gateway_is_in_the_file_beside_a_block() -> None:
    jump = {"hostname": "gate.example.org", "username": "u"}
    config = SshConfig.model_validate({"block": "login", "proxy_jump": jump})
    assert config.proxy_jump == SshConfig.model_validate(jump)
