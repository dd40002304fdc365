"""Files of a job, opened so that nothing leads out of the job's directory, and streamed."""

import os
import stat
import threading
from pathlib import Path

from fastapi import Request
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from api.services import Services

FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""To open what may be no file. O_NONBLOCK: a named pipe would otherwise wait for somebody to write to it."""

_CHUNK = 1 << 18


class NotThere(Exception):
    """There is no regular file of that name directly in the directory."""


class OpenFile:
    """A regular file. Its methods wait for the disk: call them in a thread."""

    def __init__(self, descriptor: int) -> None:
        """Own the descriptor; close it and raise NotThere where it is of something else."""
        self._descriptor = descriptor
        # A thread that still reads for a visitor who went away must not read what gets this number next.
        self._lock = threading.Lock()
        self.status = os.fstat(descriptor)
        if not stat.S_ISREG(self.status.st_mode):
            self.close()
            raise NotThere

    @property
    def size(self) -> int:
        """Bytes that it had when it was opened."""
        return self.status.st_size

    def read_at_most(self, position: int, length: int) -> bytes:
        """Return what is there, which at the end is nothing."""
        with self._lock:
            return os.pread(self._descriptor, length, position)

    def read(self, position: int, length: int) -> bytes:
        """Raise OSError at the end: the file became shorter while it was read."""
        content = self.read_at_most(position, length)
        if not content:
            raise OSError("A file became shorter while it was sent.")
        return content

    def close(self) -> None:
        with self._lock:
            os.close(self._descriptor)
            self._descriptor = -1


def open_directly_in(directory: Path, name: str) -> OpenFile:
    """Open a file of that directory; raise NotThere."""
    try:
        # A directory's own path may have links: `bartender link` makes one. What is in it may not.
        base = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotThere(name) from error
    try:
        return OpenFile(os.open(name, FLAGS, dir_fd=base))
    except OSError as error:  # not there, a link, a socket, not readable
        raise NotThere(name) from error
    finally:
        os.close(base)


class TextAnswer(Response):
    """Sends the file as long as it was when it was opened, a piece at a time, and closes it.

    Not Starlette's StreamingResponse: when the visitor goes away that one leaves the file to the garbage
    collector.
    """

    media_type = "text/plain"

    def __init__(self, file: OpenFile, services: Services) -> None:
        headers = {"Content-Length": str(file.size), "X-Content-Type-Options": "nosniff"}
        super().__init__(headers=headers)
        self._file = file
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        try:
            await send(start)
            if scope["method"] != "HEAD":
                await self._send_content(Request(scope, receive), send)
            await send({"type": "http.response.body"})
        finally:
            await self._services.on_disk(self._file.close)

    async def _send_content(self, request: Request, send: Send) -> None:
        position = 0
        while position < self._file.size and not await request.is_disconnected():
            length = min(_CHUNK, self._file.size - position)
            content = await self._services.on_disk(self._file.read, position, length)
            position += len(content)
            await send({"type": "http.response.body", "body": content, "more_body": True})


async def text_answer(directory: Path, name: str, services: Services) -> Response:
    """Return the answer that sends this file; raise NotThere."""
    return TextAnswer(await services.on_disk(open_directly_in, directory, name), services)
