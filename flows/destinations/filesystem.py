"""What a filesystem has to do: it gets a job's files to a destination and back."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from flows.destinations.surroundings import Surroundings
from flows.disk import names


def guard(directory: Path, token: str) -> Path:
    """Return where a job's script notes, beside the job's directory at the destination, that it has begun.

    Schedulers that may run a script twice make it there; filesystems remove it with the job's files.
    """
    return directory.with_name(names.guard(token))


class Filesystem(Protocol):
    """Moves directories of jobs. Each method may be repeated after any failure.

    Its class has a class ``Config``, a pydantic model of its keys in the configuration file without ``type``.
    All methods raise Unavailable when the far side cannot be reached now.
    """

    files_are_here: ClassVar[bool]
    """Whether a job works in its own directory here, so that its output can be read while it is written."""

    def __init__(self, config: Any, surroundings: Surroundings) -> None:
        """Take the keys, an instance of ``Config``. Nothing is reached for yet."""

    async def stage_in(self, job_dir: Path, token: str) -> Path:
        """Bring the files to the destination; return the directory they have there."""
        ...

    async def stage_out(self, job_dir: Path, token: str) -> None:
        """Bring the outputs back into ``job_dir``."""
        ...

    async def remove(self, job_dir: Path, token: str) -> None:
        """Remove what was brought to the destination, and the guard; never ``job_dir`` itself."""
        ...

    async def check(self) -> None:
        """Reach the far side; raise Unavailable with what is wrong, for operators."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


@dataclass(frozen=True, slots=True)
class Addresses:
    """URLs of a job's packed files: where they are fetched, and where its outputs are put (HTTP's PUT).

    ``https:`` with all that is needed to use them, so they are secrets; or ``s3:`` for who has keys.
    """

    input: str
    output: str


@runtime_checkable
class Addressed(Filesystem, Protocol):
    """A filesystem whose jobs have no directory at the destination, but are run by ``flows.wrapper``.

    How a command ended is told by its outputs.
    """

    async def addresses(self, token: str) -> Addresses:
        """Return those of a job that was staged in. Raises Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Stored:
    """What a destination keeps of one job. ``changed`` is in s since 1970, by the clock there."""

    token: str
    changed: float


@runtime_checkable
class Storing(Filesystem, Protocol):
    """A filesystem whose directory of jobs is elsewhere, perhaps with those of other databases of ours.

    Of a job that is not known here, its ``remove`` takes any name in the directory of jobs here.
    """

    async def stored(self) -> list[Stored]:
        """Return what is kept there, of whatever job, in no order.

        Raises Unavailable and StagingFailed.
        """
        ...
