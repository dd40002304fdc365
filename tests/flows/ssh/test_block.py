"""An ssh_config that names a block."""

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from blocks import SshCredentials
from flows.errors import Unavailable
from flows.ssh.config import SshConfig
from flows.ssh.connections import Connections
from tests.services.sshd import SshServer


async def test_a_saved_block_is_used_as_it_is_at_the_next_connection(
    prefect_server: None, ssh_server: SshServer
) -> None:
    block = SshCredentials(
        host=ssh_server.host,
        port=ssh_server.roomy.port,
        user=ssh_server.user,
        password=SecretStr("wrong"),
        known_hosts=ssh_server.known_hosts,
    )
    await block.asave("login")
    for password, works in (("wrong", False), (ssh_server.password, True)):
        block.password = SecretStr(password)
        await block.asave("login", overwrite=True)
        connections = Connections()
        host = connections.ssh_host(SshConfig(block="login"))
        if works:
            assert (await host.run("whoami")).stdout == f"{ssh_server.user}\n"
        else:
            with pytest.raises(Unavailable, match="block login refuses the login"):
                await host.run("whoami")
        await connections.close()


async def test_a_block_that_there_is_not(prefect_server: None) -> None:
    with pytest.raises(Unavailable, match="make or correct it"):
        await SshConfig(block="nothing").credentials()


async def test_a_block_while_prefect_is_away(prefect_server: None) -> None:
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}),
        pytest.raises(Unavailable, match="Prefect is away"),
    ):
        await SshConfig(block="login").credentials()
