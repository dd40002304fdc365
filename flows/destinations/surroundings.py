"""What schedulers and filesystems are made with."""

from dataclasses import dataclass
from typing import Any, Protocol

from flows.destinations.host import Host
from flows.disk.places import Place


class Connections(Protocol):
    """The machines that the destinations of a process share: ``flows.ssh.connections`` has them."""

    def host(self, ssh_config: Any) -> Host:
        """Return the machine that commands are run on: another one by SSH, or for None this one."""
        ...

    def ssh_host(self, ssh_config: Any) -> Any:
        """Return the other machine, the same for equal configurations, as a ``flows.ssh.host.SshHost``."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """``destination`` is the name of the one that the part is made for.

    ``filesystem`` is the type of the filesystem there.
    """

    place: Place
    destination: str
    connections: Connections
    filesystem: str = "local"
