"""The service as a thread of the far side asks it, which is faster than an event loop and can be stopped."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, TypeVar

import httpx

from flows.errors import BartenderError, Unavailable
from flows.waiting.patience import Delays
from flows.waiting.threads import to_the_end

T = TypeVar("T")

_TIMEOUT = httpx.Timeout(60.0, connect=15.0)
_OUTPUT = httpx.Timeout(60.0, connect=15.0, read=600.0)
"""Seconds; it may take long to make large outputs safe."""

_PASSING = frozenset({408, 416, 425, 429})
"""416: an attempt that was thought to have ended went on until now, and the outputs go on elsewhere."""

_RECONNECTING = Delays(0.2, longest=20.0)
_IN_VAIN = 10
"""Tries to go on, one after the other, after which it begins anew."""


class TransferRefused(BartenderError):
    """The service has answered, and does not take or give: trying again is of no use, as far as it can tell.

    ::

        TransferRefused       of any other ``status``, such as 401 and 403
        ├── GivenElsewhere    409: another has the job, or had it anew
        ├── TransferEnded     410: the job has ended
        └── OutputsNotTaken   413, 422: they are more, or other, than what may be sent
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class GivenElsewhere(TransferRefused):
    """The job is not the one's who asks."""


class TransferEnded(TransferRefused):
    """Nothing is fetched or taken any more."""


class OutputsNotTaken(TransferRefused):
    """What was sent is not taken, whoever sends it."""


_REFUSALS: Mapping[int, type[TransferRefused]] = {
    409: GivenElsewhere,
    410: TransferEnded,
    413: OutputsNotTaken,
    422: OutputsNotTaken,
}


async def asked(api_url: str, secret: str, work: Callable[["Service"], T]) -> T:
    """Return what the work returns, in a thread of its own, which a cancellation stops.

    Raises TransferRefused, Unavailable, and what the work raises.
    """
    threads = ThreadPoolExecutor(1, thread_name_prefix="transfer")
    service = Service(api_url, secret)
    try:
        return await to_the_end(lambda: service.do(work), executor=threads, stop=service.stop)
    finally:
        threads.shutdown(wait=False)


class Service:
    """What asks with one secret. Its methods block, and raise Unavailable or TransferRefused."""

    def __init__(self, api_url: str, secret: str) -> None:
        self._url = api_url.rstrip("/")
        self._stopped = threading.Event()
        self._socket: socket.socket | None = None
        self._http = httpx.Client(
            base_url=f"{self._url}/api/transfer/",
            headers={"Authorization": f"Bearer {secret}", "Accept-Encoding": "identity"},
            timeout=_TIMEOUT,
            verify=_tls(),
        )

    def do(self, work: Callable[["Service"], T]) -> T:
        """Return what the work returns, and let go of the connection."""
        with self._http, self._unavailable():
            return work(self)

    def stop(self) -> None:
        """From another thread: end what is under way, and begin nothing more."""
        self._stopped.set()
        if (connected := self._socket) is not None:
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def ask(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Return the answer."""
        response = self._http.request(method, path, extensions={"trace": self._trace}, **options)
        _check(response)
        try:
            return dict(response.json())
        except ValueError as error:
            raise Unavailable(f"{self._url} does not answer as it should.") from error

    def put(self, path: str, content: Iterator[bytes], headers: Mapping[str, str]) -> dict[str, Any]:
        """Send a body that may take long; return the answer."""
        return self.ask("PUT", path, content=self._until_stopped(content), headers=headers, timeout=_OUTPUT)

    def blocks(self, path: str) -> Iterator[bytes]:
        """Yield the bytes of an answer to their end; it goes on where a connection was lost."""
        position, tag, in_vain = 0, "", 0
        pauses = iter(_RECONNECTING)
        while True:
            headers = {"Range": f"bytes={position}-", "If-Range": tag} if position else {}
            try:
                with self._http.stream(
                    "GET", path, headers=headers, extensions={"trace": self._trace}
                ) as response:
                    if position and response.status_code == 416:
                        return  # all of it had come
                    _check(response)
                    tag = response.headers.get("ETag", "")
                    if position:
                        _check_is_part(response)
                    for block in self._until_stopped(response.iter_raw()):
                        position += len(block)
                        in_vain, pauses = 0, iter(_RECONNECTING)
                        yield block
                    return
            except _Changed as error:
                raise Unavailable("The input is not what it was.") from error
            except (httpx.TransportError, Unavailable):
                in_vain += 1
                if not tag or in_vain == _IN_VAIN or self._stopped.wait(next(pauses)):
                    raise

    def _until_stopped(self, content: Iterator[bytes]) -> Iterator[bytes]:
        for block in content:
            if self._stopped.is_set():
                raise Unavailable("The transfer was stopped.")
            yield block

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            self._socket = info["return_value"].get_extra_info("socket")
        if self._stopped.is_set():
            self.stop()

    @contextmanager
    def _unavailable(self) -> Iterator[None]:
        try:
            yield
        except (httpx.TransportError, httpx.StreamError) as error:
            said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise Unavailable(f"{self._url} cannot be reached now ({said}).") from error


@cache
def _tls() -> ssl.SSLContext:
    """Return what to trust; to read it takes longer than a small transfer."""
    return httpx.create_ssl_context()


class _Changed(Exception):
    pass


def _check_is_part(response: httpx.Response) -> None:
    if response.status_code != 206:
        raise _Changed


def _check(response: httpx.Response) -> None:
    """Raise Unavailable or TransferRefused for an answer that is an error, or is not ours."""
    status = response.status_code
    if 200 <= status < 300:
        return
    said = response.read()[:1000]
    try:
        sentence = str(json.loads(said)["detail"])
    except (ValueError, KeyError, TypeError):
        sentence = f"{response.request.url.host} answers {status}."
    if status >= 500 or status in _PASSING:
        raise Unavailable(sentence)
    raise _REFUSALS.get(status, TransferRefused)(status, sentence)
