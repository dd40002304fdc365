"""Python imports this before anything else: writes down what the process imports, a module each line.

In the directory that IMPORTS names, one file for each process; its first line is the command.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path


class Notes:
    """Finds nothing, but is asked for every module first."""

    def find_spec(self, name: str, _path: Sequence[str] | None, _target: object = None) -> None:
        file = Path(os.environ["IMPORTS"], str(os.getpid()))
        with file.open("a") as notes:
            if not notes.tell():
                notes.write(" ".join(sys.orig_argv) + "\n")
            notes.write(name + "\n")


if "IMPORTS" in os.environ:
    sys.meta_path.insert(0, Notes())
