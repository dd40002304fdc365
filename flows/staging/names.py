"""What there is of a job on another machine, all of it beside each other in one directory."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from flows.disk import names


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
        return names.inputs(self.token)

    @cached_property
    def drafts(self) -> str:
        """What the names of all drafts begin with."""
        return names.drafts(self.token)

    @cached_property
    def draft(self) -> str:
        """The directory while it comes to be: a new one for each attempt, since the last may be going on."""
        return names.draft(self.token)

    @cached_property
    def inputs_of_draft(self) -> str:
        """The listing until the directory has come to be."""
        return names.inputs_of_draft(self.draft)

    @cached_property
    def taken(self) -> str:
        """What the names of others' drafts begin with once this attempt has taken them, to remove them.

        Renamed, they cannot come to be the directory any more, nor while they are removed.
        """
        return names.taken(self.draft)

    @cached_property
    def guard(self) -> str:
        """Where the job's script notes that it has begun."""
        return names.guard(self.token)

    def path(self, name: str) -> str:
        """Return the whole path of one of these names."""
        return str(self.entry / name)


def token_of(name: str) -> str | None:
    """Return the token of the job that a name belongs to; None for one that is no job's."""
    return names.key(names.AT_DESTINATION, name)
