"""What went wrong while files were moved: whether to try again, and what to say."""

import errno

from flows.errors import BartenderError, StagingFailed, Unavailable
from flows.local.processes import is_shortage

_FULL = ("No space left on device", "Disk quota exceeded", "Quota exceeded", "File too large")
_FINAL = ("Permission denied", "Operation not permitted", "Read-only file system", "File name too long")
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
_PASSING = _NO_ROOM | {errno.EIO, errno.EAGAIN, errno.EINTR, errno.ESTALE, errno.ETIMEDOUT}


def of_command(host: str, status: int, stderr: str) -> BartenderError:
    """Return the error of a command of ours that ended badly there. What is not known may pass."""
    if any(text in stderr for text in _FULL):
        return full()
    said = stderr.strip().splitlines()[-1:] or [f"exit status {status}"]
    # Of the last line only: what comes before may be another program's noise at the login.
    if any(text in said[0] for text in _FINAL):
        return StagingFailed(f"The destination cannot take or give the files ({said[0]}); tell the operator.")
    return Unavailable(f"The files cannot be moved at {host} now ({said[0]}).")


def full() -> StagingFailed:
    """Return the error of a disk there that is full."""
    return StagingFailed("The destination's disk is full, or its quota used up; tell the operator.")


def here(error: OSError) -> BartenderError:
    """Return the error of this machine's disk. A full one passes: the outputs wait at the destination."""
    if error.errno in _NO_ROOM:
        return Unavailable("The server's disk is full; the job's files are moved when there is room.")
    return StagingFailed(
        f"Files of the job could not be read or written on the server ({error.strerror or error}); "
        f"tell the operator."
    )


def at_pilot(error: OSError) -> BartenderError:
    """Return the error of a job's own directory at a pilot. What the machine is short of passes.

    Nothing else does: the job's command may have done that to its files.
    """
    said = error.strerror or str(error)
    if is_shortage(error) or error.errno in _PASSING:
        return Unavailable(f"Files of the job cannot be read or written at the pilot ({said}).")
    return StagingFailed(f"The job has left files at its pilot that cannot be read or sent back ({said}).")
