"""Machines that short commands of ours are run on."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Completed:
    """What a command that ended by itself left. The texts are whole; bytes that are no UTF-8 are replaced."""

    status: int
    stdout: str
    stderr: str


class Host(Protocol):
    """Runs short commands of ours, such as ``squeue``; never those of applications."""

    async def run(self, command: str, *, seconds: float = 60.0, input: bytes = b"") -> Completed:
        """Run a command line of the host's shell and return how it ended, whatever its status.

        It reads ``input``, which nobody there sees in a list of processes. A connection that breaks may give
        the command a part of it only.

        Raises Unavailable when that cannot be known: the host is away, the connection was lost, or
        ``seconds`` are over. The command may have run, or may run still.
        """
        ...
