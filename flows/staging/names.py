"""What there is of a job on another machine, all of it beside each other in one directory."""

import re
import secrets
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from flows.destinations.filesystem import guard
from flows.disk.places import UUID_PATTERN

_OF_A_JOB = re.compile(
    rf"{UUID_PATTERN}|\.{UUID_PATTERN}\.(?:inputs|started|draft\.[0-9a-f]{{8}}(?:\.inputs)?)"
)


@dataclass(frozen=True)
class Names:
    """The names of one job, and of one attempt to bring its files there."""

    entry: Path
    token: str

    @cached_property
    def directory(self) -> str:
        """The job's own directory."""
        return self.token

    @cached_property
    def inputs(self) -> str:
        """The listing of what was brought there, to tell what the job has changed."""
        return f".{self.token}.inputs"

    @cached_property
    def drafts(self) -> str:
        """What the names of all drafts begin with."""
        return f".{self.token}.draft."

    @cached_property
    def draft(self) -> str:
        """The directory while it comes to be: a new one for each attempt, since the last may be going on."""
        return self.drafts + secrets.token_hex(4)

    @cached_property
    def guard(self) -> str:
        """Where the job's script notes that it has begun."""
        return guard(self.entry / self.token, self.token).name

    def path(self, name: str) -> str:
        """Return the whole path of one of these names."""
        return str(self.entry / name)


def token_of(name: str) -> str | None:
    """Return the token of the job that a name belongs to; None for one that is no job's."""
    match = _OF_A_JOB.fullmatch(name)
    return None if match is None else match[1] or match[2]
