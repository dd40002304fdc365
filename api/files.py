"""Files of a job, opened so that nothing leads out of the job's directory, and streamed."""

import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi.responses import Response, StreamingResponse

from api.services import Services

_CHUNK = 1 << 18


class NotThere(Exception):
    """There is no regular file of that name directly in the directory."""


class OpenFile:
    """A regular file. Closed with its last reference, so also when an answer is never sent."""

    def __init__(self, directory: Path, name: str) -> None:
        """Raise NotThere."""
        self._descriptor = _open(directory, name)
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise NotThere(name)
        self.size = status.st_size

    def read(self, position: int, length: int) -> bytes:
        return os.pread(self._descriptor, length, position)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


def _open(directory: Path, name: str) -> int:
    try:
        # A directory's own path may have links: `bartender link` makes one. What is in it may not.
        base = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotThere(name) from error
    try:
        # O_NONBLOCK: opening a named pipe would otherwise wait for somebody to write to it.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        return os.open(name, flags, dir_fd=base)
    except OSError as error:  # not there, a link, a socket, not readable
        raise NotThere(name) from error
    finally:
        os.close(base)


async def stream_text(directory: Path, name: str, services: Services, *, head: bool) -> Response:
    """Return the answer that sends the file, or only its length; raise NotThere."""
    file = await services.on_disk(OpenFile, directory, name)
    headers = {"Content-Length": str(file.size), "X-Content-Type-Options": "nosniff"}
    if head:
        return Response(headers=headers, media_type="text/plain")
    return StreamingResponse(_chunks(file, services), headers=headers, media_type="text/plain")


async def _chunks(file: OpenFile, services: Services) -> AsyncIterator[bytes]:
    """Yield the content in pieces, as long as it was when the file was opened."""
    position = 0
    while position < file.size:
        chunk = await services.on_disk(file.read, position, min(_CHUNK, file.size - position))
        if not chunk:  # the file became shorter: the server breaks the connection off, as it has to
            return
        position += len(chunk)
        yield chunk
