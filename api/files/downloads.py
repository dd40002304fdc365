"""Files of a job as answers: whole or in part, a piece at a time."""

import mimetypes
import re
from collections.abc import Mapping
from email.utils import formatdate
from pathlib import Path
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from api.files.browse import JobDirectory
from api.files.open_file import OpenFile
from api.files.paths import parts
from api.http.tagged import is_known
from api.services import Services

_CHUNK = 1 << 18
_BEGINNING = 1 << 10
_LAST_SECOND = 253402300799  # of the year 9999: a file's time may be any number
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_UNSAFE = re.compile(r'[^ -~]|["\\/%]')
_SHOWN_AS = {"text/tab-separated-values": "text/plain"}  # browsers show no table of this type, but save it
_COMPRESSED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}


def disposition(kind: str, name: str) -> str:
    """Return a Content-Disposition with any name (RFC 6266)."""
    plain = _UNSAFE.sub("_", name)
    header = f'{kind}; filename="{plain}"'
    # What only the second form can say; separators of directories it must not say either.
    exact = re.sub(r"[/\\\x00-\x1f\x7f]", "_", name)
    return header if exact == plain else f"{header}; filename*=UTF-8''{quote(exact, safe='')}"


def media_type(name: str, beginning: bytes) -> str:
    """Return the type that the name tells or else, for text and anything else, its beginning."""
    guess, encoding = mimetypes.guess_type(f"/{name}")  # with a slash, or "data:x" would be read as a URL
    if encoding is not None:
        return _COMPRESSED.get(encoding, "application/octet-stream")
    if guess is not None:
        return _SHOWN_AS.get(guess, guess)
    return "application/octet-stream" if b"\0" in beginning else "text/plain"


def requested_range(header: str | None, size: int) -> range | None:
    """Return the positions of ``Range``, empty if there are none; None if the whole file is to be sent.

    A server may ignore what it does not serve: other units, several ranges at once, broken ones.
    """
    match = _RANGE.fullmatch((header or "").replace(" ", ""))
    if match is None or not size or match[0] == "bytes=-":
        return None
    first, last = match[1], match[2]
    if not first:
        return range(max(size - int(last), 0), size)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last or size) + 1, size))


def open_file(root: Path, path: str) -> tuple[OpenFile, str, str]:
    """Return a file of the job that has this directory, its name and its media type; raise NotThere."""
    file = JobDirectory(root).open_path(path)
    name = parts(path)[-1]
    try:
        return file, name, media_type(name, file.read(0, _BEGINNING) if file.size else b"")
    except BaseException:
        file.close()
        raise


class FileAnswer(Response):
    """Sends the file as long as it was when it was opened, and closes it."""

    def __init__(
        self, opened: tuple[OpenFile, str, str], services: Services, more: Mapping[str, str] | None = None
    ) -> None:
        file, name, kind = opened
        status = file.status
        self._etag = f'"{status.st_mtime_ns:x}-{status.st_ctime_ns:x}-{status.st_size:x}"'
        headers = {
            "Accept-Ranges": "bytes",
            "Cache-Control": "private, no-cache",  # an interactive application may write the file again
            "Content-Disposition": disposition("inline", name),
            "Content-Length": str(file.size),
            "ETag": self._etag,
            "Last-Modified": formatdate(min(max(status.st_mtime, 0), _LAST_SECOND), usegmt=True),
            "X-Content-Type-Options": "nosniff",
            **(more or {}),
        }
        super().__init__(headers=headers, media_type=kind)
        self._file = file
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._answer(Request(scope, receive), send)
        finally:
            await self._services.on_disk(self._file.close)

    async def _answer(self, request: Request, send: Send) -> None:
        if is_known(self._etag, request.headers):
            del self.headers["Content-Length"], self.headers["Content-Type"]
            self.status_code = 304
            await self._send(range(0), request, send)
            return
        wanted = self._wanted(request)
        if wanted is None:
            await self._send(range(self._file.size), request, send)
        elif wanted:
            self.status_code = 206
            self.headers["Content-Length"] = str(len(wanted))
            self.headers["Content-Range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{self._file.size}"
            await self._send(wanted, request, send)
        else:
            headers = {"Content-Range": f"bytes */{self._file.size}"}
            detail = {"detail": f"The file has {self._file.size} bytes; the range is after its end."}
            await JSONResponse(detail, 416, headers)(request.scope, request.receive, send)

    def _wanted(self, request: Request) -> range | None:
        # A date is not exact enough: the file may have been written twice in a second.
        current = request.headers.get("If-Range") in (None, self._etag)
        if request.method != "GET" or not current:
            return None
        return requested_range(request.headers.get("Range"), self._file.size)

    async def _send(self, wanted: range, request: Request, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        await send(start)
        position, end = wanted.start, wanted.stop
        while request.method != "HEAD" and position < end and not await request.is_disconnected():
            content = await self._services.on_disk(self._file.read, position, min(_CHUNK, end - position))
            position += len(content)
            await send({"type": "http.response.body", "body": content, "more_body": True})
        await send({"type": "http.response.body"})
