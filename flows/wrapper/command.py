"""The file that holds a command, for the shell that runs it elsewhere."""

import re
import shlex
from collections.abc import Iterable, Mapping

from flows.errors import DestinationRefused


def payload(setup: Iterable[str], command: str, variables: Mapping[str, str]) -> bytes:
    """Return the file that is run: the variables, the lines of set-up, the command.

    Raises DestinationRefused for what no shell can take.
    """
    lines = []
    for name, value in variables.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or "\0" in value:
            raise DestinationRefused(
                "The destination's environment block has a name or value that no variable can have; "
                "tell the operator."
            )
        lines.append(f"export {name}={shlex.quote(value)}\n")
    return "".join([*lines, *(f"{line}\n" for line in setup), command, "\n"]).encode(errors="surrogateescape")
