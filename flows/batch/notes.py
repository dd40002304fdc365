"""The notes of jobs' scripts, as commands read and write them; ``script`` says what they are."""

import shlex
from collections.abc import Collection
from dataclasses import dataclass

from flows.batch.references import Reference

# Builtins of the shell only for a job that has ended as it should: there may be thousands.
READ = """while IFS= read -r guard; do
    code= cancelled= begun=yes
    [ ! -f "$guard/returncode" ] || read -r code <"$guard/returncode"
    case $code in *[!0-9]*) code= ;; esac
    [ ! -e "$guard/cancelled" ] || cancelled=yes
    [ ! -d "$guard" ] || [ -L "$guard/job" ] || begun=
    printf '%s|%s|%s\\n' "$code" "$cancelled" "$begun"
done"""
"""Reads the paths of guards, and prints a line for each."""


@dataclass(frozen=True, slots=True)
class Notes:
    """What a job's script left beside the job's directory.

    Not ``begun`` only where it is certain that no script has begun: the place for its notes can be seen.
    """

    returncode: int | None = None
    cancelled: bool = False
    begun: bool = True


def guards(references: Collection[Reference]) -> bytes:
    """Return what ``READ`` reads."""
    return "".join(f"{reference.guard}\n" for reference in references).encode(errors="surrogateescape")


def read(line: str) -> Notes:
    """Read a line of what ``READ`` printed. Raises ValueError for anything else."""
    code, cancelled, begun = line.split("|")
    return Notes(int(code) if code.isdigit() else None, cancelled == "yes", begun == "yes")


def mark_cancelled(reference: Reference) -> str:
    """Return the command after which no script of the job begins."""
    guard = shlex.quote(reference.guard)
    return f"umask 077; {{ [ -d {guard} ] || mkdir {guard}; }} && : >{guard}/cancelled"
