"""The far side of transfers: what a pilot calls to get a job's files, and to send back what came of them.

Everything waits for a service that is away, for as long as it takes: who is tired of that cancels it.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from flows.errors import BartenderError, InvalidUpload, StagingFailed, Unavailable
from flows.staging.bridge import BLOCK, Bridge
from flows.staging.listing import Listing
from flows.transfers import outputs
from flows.transfers.tar_stream import TarStream
from flows.waiting.patience import Delays, patiently
from flows.waiting.threads import to_the_end

_TIMEOUT = httpx.Timeout(60.0, connect=15.0)
_OUTPUT = httpx.Timeout(60.0, connect=15.0, read=600.0)
"""Seconds; it may take long to make large outputs safe."""

_PASSING = frozenset({408, 425, 429})
_PATIENT = Delays(0.5, longest=30.0)
_RECONNECTING = Delays(0.2, longest=20.0)


class TransferRefused(BartenderError):
    """The service has answered, and does not take or give: trying again is of no use.

    ``status`` is 401 for a credential that is over, when the job can be claimed again; 403 for one that is
    for something else; 409 for a job that was given to another; 410 for one that has ended; 413 and 422 for
    outputs that are not taken.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, slots=True)
class Credential:
    """What moves the files of one job until it ``expires``, in s since 1970."""

    job_id: int
    expires: float
    secret: str = field(repr=False)


async def claim(api_url: str, pilot_key: str, token: str, claimant: str) -> Credential:
    """Return a credential for the job of this token, which is the claimant's from then on.

    ``claimant`` names the pilot, of at most 200 ASCII characters: the same one again gets another
    credential, with a later end; any other is refused (409) unless the worker gave the job anew.
    Raises TransferRefused.
    """

    async def ask() -> Credential:
        async with _opened(api_url, pilot_key) as http:
            answer = await _asked(http, "POST", "claim", json={"token": token, "claimant": claimant})
        said = _json(answer)
        return Credential(said["job_id"], said["expires"], said["credential"])

    return await patiently(ask, delays=_PATIENT, what=f"The job {token} cannot be claimed now")


async def fetch_input(api_url: str, credential: Credential, directory: Path) -> Listing:
    """Fill the directory, which is made anew, with the job's input; return it, for ``send_output``.

    ``flows.staging.listing`` has ``write`` and ``parse``, by which a listing outlives a process.
    Raises TransferRefused, and OSError of this machine's disk.
    """

    async def fetch() -> Listing:
        async with _opened(api_url, credential.secret) as http:
            download = _Download(http, f"{credential.job_id}/input")
            try:
                with ThreadPoolExecutor(1, thread_name_prefix="input") as threads:
                    bridge = Bridge(threads, api_url)
                    return await bridge.run(
                        lambda: outputs.unpack(directory, lambda: bridge.wait(download.next()))
                    )
            except InvalidUpload as error:
                raise Unavailable(f"{api_url} does not send a proper tar.") from error
            finally:
                await download.close()

    return await patiently(fetch, delays=_PATIENT, what=f"The input of job {credential.job_id} does not come")


async def send_output(api_url: str, credential: Credential, directory: Path, inputs: Listing) -> None:
    """Send what is in the directory, but for the inputs that are as they were; return once it is safe there.

    It may be repeated. Nobody should write there meanwhile. Raises TransferRefused, and OSError.
    """

    async def send() -> None:
        there = await to_the_end(lambda: outputs.scan(directory))
        stream = TarStream(directory, outputs.unsent(there, inputs))
        async with _opened(api_url, credential.secret) as http:
            try:
                await _send(http, f"{credential.job_id}/output", stream)
            except StagingFailed as error:
                raise Unavailable(str(error)) from error

    await patiently(send, delays=_PATIENT, what=f"The outputs of job {credential.job_id} cannot be sent now")


async def _send(http: httpx.AsyncClient, path: str, stream: TarStream) -> None:
    """Send what is not there yet."""
    received = _json(await _asked(http, "GET", path))
    start = received["offset"] if await to_the_end(lambda: _is_ours(received, stream)) else 0
    if start and received["complete"]:
        return
    body = _Body(stream, start)
    headers = {"Content-Type": "application/x-tar", "Content-Length": str(stream.size - start)}
    if start:
        headers["Content-Range"] = f"bytes {start}-{stream.size - 1}/{stream.size}"
    answer = _json(await _asked(http, "PUT", path, content=body.blocks(), headers=headers, timeout=_OUTPUT))
    last = answer["parts"][-1]
    if last != {"end": stream.size, "sha256": body.digest} and start != stream.size:
        raise Unavailable("What has come there is not what was sent.")


def _is_ours(received: dict[str, Any], stream: TarStream) -> bool:
    """Whether what has come is the beginning of this stream, or all of it."""
    if received["complete"] and received["offset"] != stream.size:
        return False
    start = 0
    for part in received["parts"]:
        digest = hashlib.sha256()
        for block in stream.blocks(start, part["end"]):
            digest.update(block)
        if digest.hexdigest() != part["sha256"] or part["end"] > stream.size:
            return False
        start = part["end"]
    return True


class _Body:
    """A stream as the body of a request, and the SHA-256 of what was sent of it."""

    def __init__(self, stream: TarStream, start: int) -> None:
        self._blocks = stream.blocks(start)
        self._digest = hashlib.sha256()

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()

    async def blocks(self) -> AsyncIterator[bytes]:
        while (block := await to_the_end(self._next)) is not None:
            yield block

    def _next(self) -> bytes | None:
        block = next(self._blocks, None)
        if block is not None:
            self._digest.update(block)
        return block


class _Download:
    """The bytes of an answer to their end; it goes on where a connection was lost."""

    def __init__(self, http: httpx.AsyncClient, path: str) -> None:
        self._http = http
        self._path = path
        self._position = 0
        self._tag = ""
        self._response: httpx.Response | None = None
        self._blocks: AsyncIterator[bytes] | None = None
        self._pauses: Iterator[float] = iter(_RECONNECTING)

    async def next(self) -> bytes:
        """Return the next bytes, none at the end. Raises Unavailable when they are not the same any more."""
        while True:
            try:
                if self._blocks is None:
                    self._blocks = await self._opened()
                block = await anext(self._blocks, b"")
            except (httpx.TransportError, Unavailable):
                if not self._tag:
                    raise
                await self.close()
                await asyncio.sleep(next(self._pauses))
            else:
                self._pauses = iter(_RECONNECTING)
                self._position += len(block)
                return block

    async def _opened(self) -> AsyncIterator[bytes]:
        headers = {"Accept-Encoding": "identity"}
        if self._position:
            headers |= {"Range": f"bytes={self._position}-", "If-Range": self._tag}
        request = self._http.build_request("GET", self._path, headers=headers)
        self._response = response = await self._http.send(request, stream=True)
        if response.status_code == 416:  # all of it had come
            return _nothing()
        await _checked(response)
        if self._position and response.status_code != 206:
            self._tag = ""
            raise Unavailable("The input is not what it was.")
        self._tag = response.headers.get("ETag", "")
        return response.aiter_raw(BLOCK)

    async def close(self) -> None:
        """Let go of the connection."""
        response, self._response, self._blocks = self._response, None, None
        if response is not None:
            await response.aclose()


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


@asynccontextmanager
async def _opened(api_url: str, secret: str) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {secret}"}
    base = f"{api_url.rstrip('/')}/api/transfer/"
    try:
        async with httpx.AsyncClient(base_url=base, headers=headers, timeout=_TIMEOUT) as http:
            yield http
    except (httpx.TransportError, httpx.StreamError) as error:
        raise Unavailable(f"{api_url} cannot be reached now ({type(error).__name__}: {error}).") from error


async def _asked(http: httpx.AsyncClient, method: str, path: str, **options: Any) -> httpx.Response:
    response = await http.request(method, path, **options)
    await _checked(response)
    return response


async def _checked(response: httpx.Response) -> None:
    """Raise Unavailable or TransferRefused for an answer that is an error, or is not ours."""
    status = response.status_code
    if 200 <= status < 300:
        return
    said = (await response.aread())[:1000]
    try:
        sentence = str(json.loads(said)["detail"])
    except (ValueError, KeyError, TypeError):
        sentence = f"{response.request.url.host} answers {status}."
    if status >= 500 or status in _PASSING:
        raise Unavailable(sentence)
    raise TransferRefused(status, sentence)


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        return dict(response.json())
    except ValueError as error:
        raise Unavailable(f"{response.request.url.host} does not answer as it should.") from error
