"""The exceptions of Bartender.

::

    BartenderError
    ├── ConfigurationError      the operator's files or environment are wrong; ends the program
    ├── VisitorError            the request cannot be honoured; nothing was kept of it
    │   ├── UnknownApplication
    │   ├── NotAllowed          the visitor lacks a role
    │   ├── InvalidUpload       the archive or the form fields
    │   ├── JobNotFound         not there or not theirs
    │   ├── JobNotCompleted     asked for outputs before the end
    │   ├── JobEnded            there is nothing left to cancel
    │   └── TooManyPins         the visitor keeps as many jobs as they may
    ├── JobFailure              ends one job; its text is the reason the visitor reads
    │   ├── CommandFailed       the command itself ended badly
    │   ├── TimeLimitExceeded
    │   ├── OutOfMemory
    │   ├── StagingFailed       files could not be moved or unpacked
    │   │   └── ArchiveRefused  the archive is not what it promised
    │   ├── DestinationRefused  no destination, or it will never run this job
    │   ├── DestinationFailed   it broke the job off: its node failed, another job had precedence
    │   ├── JobCancelled        somebody ended the job on purpose
    │   └── InternalError       our mistake
    ├── Superseded              another worker runs the job by now
    ├── NeverTaken              Prefect can never keep what it was told
    └── Unavailable (transient) a part we need does not answer now
        └── Refused             it answers, with an error: an operator may have to see to it

``str(error)`` is one sentence for whom it concerns; the cause is chained for the operator.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar


class BartenderError(Exception):
    """Base of all errors that Bartender raises on purpose.

    ``transient`` says whether the same call may succeed later: tasks retry those, never the others.
    """

    transient: ClassVar[bool] = False


class ConfigurationError(BartenderError):
    """A mistake in a file or variable of the operator.

    The text names the file, the key and the way out, on one line.
    """


class VisitorError(BartenderError):
    """A request that cannot be honoured as it is."""


class UnknownApplication(VisitorError):
    """No application of that name is configured."""


class NotAllowed(VisitorError):
    """The visitor has none of the roles that the application asks for."""


class InvalidUpload(VisitorError):
    """The archive, the form fields or the values are not what the application takes."""


class JobNotFound(VisitorError):
    """No such job, or somebody else's: the two are not told apart."""


class JobNotCompleted(VisitorError):
    """Outputs were asked for before the job ended."""


class JobEnded(VisitorError):
    """The job was to be cancelled after its end."""


class TooManyPins(VisitorError):
    """The visitor has pinned as many jobs as they may."""


class JobFailure(BartenderError):
    """The job cannot be completed; the text becomes its reason and ``kind`` says whose turn it is."""

    kind: ClassVar[str]

    @classmethod
    def of_kind(cls, kind: str | None, text: str) -> "JobFailure":
        """Return the failure that ``kind`` and ``text`` were written down of; an unknown kind is internal."""
        classes = {subclass.kind: subclass for subclass in cls.__subclasses__()}
        return classes.get(kind or "", InternalError)(text)


class CommandFailed(JobFailure):
    """The command ended with another exit code than 0, or was killed."""

    kind = "user error"


class TimeLimitExceeded(JobFailure):
    """The command ran longer than the destination allows."""

    kind = "time limit"


class OutOfMemory(JobFailure):
    """The command needed more memory than the destination gives it."""

    kind = "memory"


class StagingFailed(JobFailure):
    """The job's files could not be unpacked or moved."""

    kind = "staging"


class ArchiveRefused(StagingFailed):
    """The archive is not what it promised to be; to unpack it again is of no use."""


class DestinationRefused(JobFailure):
    """No destination takes the job."""

    kind = "destination"


class DestinationFailed(JobFailure):
    """The destination took the job and could not bring it to its end."""

    kind = "destination failed"


class JobCancelled(JobFailure):
    """Somebody ended the job on purpose."""

    kind = "cancelled"


class InternalError(JobFailure):
    """Bartender's own mistake; the cause is in the operator's log."""

    kind = "internal"


class Superseded(BartenderError):
    """The job was taken over by another worker, or may be: this one must not touch it any more."""


class NeverTaken(BartenderError):
    """A part is well, and answers with an error again and again: it can never keep what it was told."""


class Unavailable(BartenderError):
    """A part that is needed does not answer at the moment."""

    transient = True


class Refused(Unavailable):
    """A part that is needed answers, with an error that is not about what it was asked.

    It takes no writes, its schema is being changed, or a password was. An operator may have to see to it.
    """


_NO_THREAD = "can't start new thread"
"""What Python's RuntimeError says at the limit of processes; work for a thread may be done all the same."""


@contextmanager
def unavailable_for_now(what: str) -> Iterator[None]:
    """Turn what this machine is short of, which may pass, into Unavailable. ``what``: what cannot be done."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"{what} ({error.strerror}).") from error
    except RuntimeError as error:
        if str(error) != _NO_THREAD:
            raise
        raise Unavailable(f"{what} (no more threads).") from error


def with_cause(error: BaseException) -> str:
    """Return the error and what is at the bottom of it, on one line for the operator's log."""
    text, bottom = str(error) or type(error).__name__, ""
    cause, seen = error.__cause__, {id(error)}
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        # Only the first line: SQLAlchemy's others are the statement and a visitor's values.
        said = str(cause).partition("\n")[0]
        if said or not bottom:
            # PostgreSQL's code of the error, where it has one, is what its manual explains.
            name = " ".join([type(cause).__name__, getattr(cause, "sqlstate", None) or ""]).rstrip()
            bottom = f"{name}: {said}" if said else name
        cause = cause.__cause__
    return one_line(f"{text} ({bottom})" if bottom else text)


def one_line(said: object) -> str:
    """Return what something says of itself, without its line breaks."""
    return " ".join(str(said).split())
