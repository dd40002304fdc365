"""What a scheduler has to do: it runs a job's command at a destination."""

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from flows.destinations.filesystem import Addresses
from flows.destinations.surroundings import Surroundings
from flows.errors import JobFailure


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """What a scheduler is to run. ``directory`` is where the job's files are at the destination.

    With a filesystem that is ``Addressed`` nothing is there, but at ``addresses``. ``installation`` tells
    the database of the job, where several submit to the same place.
    """

    token: str
    job_id: int
    application: str
    submitter: str
    command: str
    directory: Path
    installation: str = ""
    addresses: Addresses | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """What a scheduler knows of a job.

    ``returncode`` is that of the ended command. ``failure`` says what ended it otherwise, on proof. An end
    with neither is one that the job's outputs tell more of: ``flows.wrapper`` has left its return code there.
    ``reason`` says, before the end, why the job does not get on. ``lost`` is a command that the scheduler
    took and does not have any more, and that certainly never began: it is to be submitted again.
    """

    state: Literal["queued", "running", "ended", "lost"]
    returncode: int | None = None
    failure: JobFailure | None = None
    reason: str | None = None

    @property
    def is_last(self) -> bool:
        """Whether no other status follows."""
        return self.state in {"ended", "lost"}


class Scheduler(Protocol):
    """Runs commands, each exactly once.

    Its class has a class ``Config``, a pydantic model of its keys in the configuration file without ``type``.
    All methods raise Unavailable when the scheduler cannot be asked now, and may be called again.
    ``cancel`` and ``forget`` get the token instead of the id when a crash came before that was written down.
    One whose jobs are run by ``flows.wrapper`` has a class variable ``by_addresses``, which is True.
    """

    commands_are_here: ClassVar[bool]
    """Whether commands are on the machine of the worker that submits them, so only workers there see them."""

    def __init__(self, config: Any, surroundings: Surroundings) -> None:
        """Take the keys, an instance of ``Config``. Nobody is asked anything yet."""

    async def submit(self, submission: Submission) -> str:
        """Hand the command over and return the scheduler's id of it.

        A token that was submitted before is not submitted again: the id of then is returned.
        Raises JobFailure when the scheduler refuses the job.
        """
        ...

    def watch(self, scheduler_id: str) -> AsyncIterator[Status]:
        """Yield the status now, then each change of it; end after yielding an ended or lost one."""
        ...

    async def cancel(self, scheduler_id: str) -> None:
        """End the command and all its children; harmless when it has ended."""
        ...

    async def forget(self, scheduler_id: str) -> None:
        """Remove what the scheduler keeps of a command that has ended."""
        ...

    async def check(self) -> None:
        """Ask the scheduler something cheap; raise Unavailable with what is wrong, for operators."""
        ...

    async def close(self) -> None:
        """Let go of connections. Commands go on."""
        ...


@runtime_checkable
class Listing(Protocol):
    """A scheduler that can say what it keeps, so that what has no job any more is ended and forgotten."""

    async def tokens(self) -> list[str]:
        """Return the tokens of all commands that were submitted here and not forgotten."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """A command that has not ended. ``installation`` is that of its submission, "" when not known."""

    scheduler_id: str
    token: str
    installation: str


@runtime_checkable
class Shared(Protocol):
    """A scheduler that others submit to as well, even other databases of ours with the same account."""

    async def under_way(self) -> list[Listed]:
        """Return the account's commands that have not ended, whoever submitted them."""
        ...

    async def end(self, scheduler_ids: Collection[str]) -> None:
        """Ask for the end of listed commands, without waiting for it; harmless for those that have ended."""
        ...
