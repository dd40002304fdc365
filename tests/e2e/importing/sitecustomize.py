"""Python imports this before anything else: writes down what the process imports.

In the directory that IMPORTS names, one file for each process; a line has the command, as lists of processes
show it by then, and a module. What was imported before a fork is in the child's too.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path


class Notes:
    """Finds nothing, but is asked for every module first."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._process = 0

    def find_spec(self, name: str, _path: Sequence[str] | None, _target: object = None) -> None:
        self._names.append(name)
        new = [name] if os.getpid() == self._process else self._names
        self._process = os.getpid()
        command = Path("/proc/self/cmdline").read_bytes().replace(b"\0", b" ").decode()
        with Path(os.environ["IMPORTS"], str(self._process)).open("a") as notes:
            notes.writelines(f"{command}\t{name}\n" for name in new)


if "IMPORTS" in os.environ:
    sys.meta_path.insert(0, Notes())
