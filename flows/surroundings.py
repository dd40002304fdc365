"""What schedulers and filesystems are made with."""

from dataclasses import dataclass

from flows.disk.places import Place
from flows.ssh.connections import Connections


@dataclass(frozen=True, slots=True)
class Surroundings:
    """``destination`` is the name of the one that the part is made for."""

    place: Place
    destination: str
    connections: Connections
