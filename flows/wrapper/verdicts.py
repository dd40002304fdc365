"""How a command ended that the wrapper has run, by what it has left in the job's directory."""

from pathlib import Path

from flows.disk.last_line import last_line
from flows.disk.places import RETURNCODE, STDERR
from flows.errors import DestinationFailed, JobFailure, TimeLimitExceeded

LATE = 124
"""Return code of a command that was ended at its time limit."""

_LAST_WORD = "bartender: the command was ended after "


def returncode(job_dir: Path) -> int | JobFailure:
    """Return what the command returned, or the failure of a job that the wrapper did not bring to its end.

    To be read once the outputs are here. No upload can have put it there: those names are not unpacked.
    """
    try:
        code = int((job_dir / RETURNCODE).read_bytes()[:4])
    except (OSError, ValueError):
        return DestinationFailed(
            "The job ended at its destination without a return code, so the command may not have come to its "
            "end; submit it again."
        )
    said = last_line(job_dir / STDERR) or ""
    if code == LATE and said.startswith(_LAST_WORD):
        seconds = said.removeprefix(_LAST_WORD).partition(" ")[0]
        return TimeLimitExceeded(f"The command took longer than the {seconds} s that it may.")
    return code
