"""What several attempts make of which one is to be used: each in a directory of its own, beside the others.

An attempt that was given up may go on all the same, as that of a process that was frozen. So a new one first
takes away what those before it have made, by renaming it: they find nothing more to use or to write to.
"""

import secrets
from pathlib import Path

from flows.disk.trees import remove_tree


def begin(directory: Path) -> Path:
    """Return where a new attempt may make a directory; remove what earlier ones have made.

    ``directory`` is for attempts at one thing alone.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for earlier in list(directory.iterdir()):
        _remove(_taken_away(earlier))
    return directory / secrets.token_hex(4)


def go_on(directory: Path) -> Path:
    """Return a directory for a new attempt with what an earlier one has made, if there is any."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    mine = directory / secrets.token_hex(4)
    for earlier in sorted(directory.iterdir()):
        taken = _taken_away(earlier)
        if taken is not None and taken.is_dir() and not mine.exists():
            taken.rename(mine)
        else:
            _remove(taken)
    mine.mkdir(mode=0o700, exist_ok=True)
    return mine


def _taken_away(earlier: Path) -> Path | None:
    """Return what it is called now; None when it has gone by itself."""
    try:
        return earlier.rename(earlier.with_name(secrets.token_hex(4)))
    except FileNotFoundError:
        return None


def _remove(taken: Path | None) -> None:
    if taken is None:
        return
    if taken.is_dir() and not taken.is_symlink():
        remove_tree(taken)
    else:
        taken.unlink(missing_ok=True)
