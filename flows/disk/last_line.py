"""The end of a file that anybody may have written anything to."""

import os
import stat
from pathlib import Path

LONGEST = 200
"""Characters of a line; of a longer one these are the first."""

_LOOKED_AT = 1 << 13  # bytes


def last_line(path: Path) -> str | None:
    """Return the last line that has any text, on one line and without control characters.

    None where there is no text near the end of the file, no regular file, or none that can be read.
    """
    try:
        # The command may have made anything of this name; a pipe would be waited for.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        descriptor = os.open(path, flags)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        end = os.pread(descriptor, _LOOKED_AT, max(status.st_size - _LOOKED_AT, 0))
    except OSError:
        return None
    finally:
        os.close(descriptor)
    lines = [text for line in end.decode(errors="replace").splitlines() if (text := _printable(line))]
    if not lines:
        return None
    return lines[-1] if len(lines[-1]) <= LONGEST else f"{lines[-1][: LONGEST - 1]}…"


def _printable(line: str) -> str:
    return " ".join("".join(character if character.isprintable() else " " for character in line).split())
