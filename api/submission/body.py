"""The two bodies that bring an archive: a form that has it in a field, or nothing but the archive."""

from collections.abc import Callable
from typing import Protocol

from starlette.datastructures import Headers

from api.submission.job_name import sent_name
from api.submission.multipart import FORM_TYPE, FormBody
from flows.errors import InvalidUpload

ARCHIVE_TYPES = (
    "application/zip",
    "application/x-zip-compressed",
    "application/x-tar",
    "application/gzip",
    "application/x-bzip2",
    "application/x-xz",
    "application/zstd",
)
"""What a bare body may call itself. What it is, its content says."""


class SubmissionBody(Protocol):
    """Is fed a request's body and passes the archive on as it comes; the rest is known once it has finished.

    It works in the thread that feeds it, one at a time. Both methods raise InvalidUpload.
    """

    most_besides: int
    """Bytes that a body of this kind may have besides its archive."""

    fields: list[tuple[str, str]]
    file_name: str | None
    """What the archive is called where it comes from, fit to be shown."""

    def feed(self, data: bytes) -> None: ...

    def finish(self) -> None: ...


class BareBody:
    """The archive alone."""

    most_besides = 0

    def __init__(self, disposition: str, write: Callable[[bytes | memoryview], None]) -> None:
        self.fields: list[tuple[str, str]] = []
        self.file_name = sent_name(disposition)
        self.feed = write

    def finish(self) -> None: ...


def body_of(headers: Headers, write: Callable[[bytes | memoryview], None]) -> SubmissionBody:
    """Return what is to be fed the body that has these headers; raise InvalidUpload for an unknown type."""
    content_type = headers.get("Content-Type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == FORM_TYPE:
        return FormBody(content_type, write)
    if media_type in ARCHIVE_TYPES:
        return BareBody(headers.get("Content-Disposition", ""), write)
    types = ", ".join(ARCHIVE_TYPES)
    raise InvalidUpload(f"Send the archive as {types}, or with fields as {FORM_TYPE}.")
