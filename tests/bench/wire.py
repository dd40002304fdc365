"""Clients that cost little, so that they do not take the processors from what they measure."""

import asyncio
import http.client
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.e2e.service import Service

_PIECE = 1 << 18


class Connection:
    """One kept alive, for small answers."""

    def __init__(self, service: Service) -> None:
        self._address = urlsplit(service.url)
        self._headers = (
            f" HTTP/1.1\r\nHost: {self._address.netloc}\r\n"
            f"Authorization: {service.client.headers['Authorization']}\r\n"
        )

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(
            self._address.hostname, self._address.port, limit=1 << 24
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def get(self, path: str) -> bytes:
        head, body = await self._answer(f"GET {path}{self._headers}\r\n".encode())
        assert head.startswith(b"HTTP/1.1 200 "), head + body
        return body

    async def submit(self, archive: bytes, application: str) -> str:
        """Return the path of the job."""
        upload = f"Content-Type: application/zip\r\nContent-Length: {len(archive)}\r\n\r\n"
        head, body = await self._answer(
            f"PUT /api/application/{application}/job{self._headers}{upload}".encode() + archive
        )
        assert head.startswith(b"HTTP/1.1 303 "), head + body
        location = head.lower().partition(b"location: ")[2].split(b"\r")[0].decode()
        return urlsplit(location).path

    async def _answer(self, request: bytes) -> tuple[bytes, bytes]:
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].split(b"\r")[0]
        return head, await self._reader.readexactly(int(length or 0))

    async def seconds(self, path: str) -> float:
        started = time.monotonic()
        await self.get(path)
        return time.monotonic() - started


@dataclass
class Download:
    """What was received, and when."""

    first: float
    total: float
    size: int


def download(service: Service, path: str) -> Download:
    """Read an answer to its end and keep nothing of it."""
    address = urlsplit(service.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=600)
    started = time.monotonic()
    connection.request("GET", path, headers={"Authorization": service.client.headers["Authorization"]})
    response = connection.getresponse()
    assert response.status == 200, response.read()
    size = len(response.read(1))
    first = time.monotonic() - started
    buffer = bytearray(_PIECE)
    while received := response.readinto(buffer):
        size += received
    total = time.monotonic() - started
    connection.close()
    return Download(first, total, size)
