"""Directory trees as a whole, whatever their owner did to them."""

import errno
import os
import shutil
import stat
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from flows.waiting.patience import Delays

_TRIES = 10
_PAUSES = Delays(0.02, longest=0.2)


def remove_tree(directory: Path) -> None:
    """Remove a directory, where its owner has denied himself that and while somebody writes there, too."""
    for pause in islice(_PAUSES, _TRIES):
        try:
            shutil.rmtree(directory, onerror=_allow)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            time.sleep(pause)  # whoever writes may be about to end
        else:
            return
    raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(directory))


def size_of(directory: Path) -> int:
    """Return the bytes of the files: once of those with several names, and none of what cannot be read."""
    total, seen = 0, set()
    for parent, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                status = os.lstat(os.path.join(parent, name))  # noqa: PTH118 - of many, in little time
                if status.st_nlink > 1:
                    if (status.st_dev, status.st_ino) in seen:
                        continue
                    seen.add((status.st_dev, status.st_ino))
                total += status.st_size
    return total


def _allow(_function: Any, path: str, error: Any) -> None:
    if issubclass(error[0], FileNotFoundError):
        return  # removed by the call below for what is in it
    if not issubclass(error[0], PermissionError):
        raise error[1]
    # It may be the directory itself that cannot be read, or the one above that cannot be written.
    for place in (os.path.dirname(path), path):  # noqa: PTH120 - shutil speaks in texts
        if not os.path.islink(place) and os.path.isdir(place):  # noqa: PTH112, PTH114
            os.chmod(place, stat.S_IRWXU)  # noqa: PTH101
    if os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114
        shutil.rmtree(path)
    else:
        os.unlink(path)  # noqa: PTH108
