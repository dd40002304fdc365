"""What schedulers and filesystems are made with."""

from dataclasses import dataclass
from typing import Any, Protocol

from flows.destinations.host import Host
from flows.destinations.polling import Turns
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

    ``filesystem`` is the type of the filesystem there. ``turns`` are those of all workers to ask the
    scheduler something; None where there is one.
    """

    place: Place
    destination: str
    connections: Connections
    filesystem: str = "local"
    turns: Turns | None = None
