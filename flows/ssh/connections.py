"""The machines that the destinations of this process share, each with as few connections as possible."""

import asyncio

from flows.destinations.host import Host
from flows.local.host import ThisMachine
from flows.ssh.config import SshConfig
from flows.ssh.host import SshHost


class Connections:
    """Owned by the destinations, and closed with them."""

    def __init__(self) -> None:
        self.this_machine: Host = ThisMachine()
        self._hosts: dict[SshConfig, SshHost] = {}

    def host(self, ssh_config: SshConfig | None) -> Host:
        """Return the machine that commands are run on; None is this one."""
        return self.this_machine if ssh_config is None else self.ssh_host(ssh_config)

    def ssh_host(self, ssh_config: SshConfig) -> SshHost:
        """Return the other machine, the same for equal configurations. It is connected to when it is used."""
        if ssh_config not in self._hosts:
            jump = ssh_config.proxy_jump
            self._hosts[ssh_config] = SshHost(ssh_config, None if jump is None else self.ssh_host(jump))
        return self._hosts[ssh_config]

    async def close(self) -> None:
        """Close all connections. What runs on the other machines goes on."""
        await asyncio.gather(*(host.close() for host in self._hosts.values()))
