"""The objects of one bucket, with keys that are replaced from time to time.

obstore's work is done in threads: they end with a transfer that is not wanted any more, and nobody else's.
"""

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from flows.archives.compression import Blockwise
from flows.destinations.saved_block import SavedBlock
from flows.errors import Unavailable
from flows.s3 import uploads
from flows.waiting.threads import to_the_end

if TYPE_CHECKING:
    from blocks import S3Credentials

logger = logging.getLogger(__name__)

T = TypeVar("T")

PART = 8 << 20
"""Bytes of a part of an upload; an object that is no larger is sent at once."""

_MOST_PARTS = 9_000  # S3 takes 10,000
_PARTS_AT_ONCE = 3
_BLOCK = 1 << 20
_TIMES = {"connect_timeout": "10s", "read_timeout": "60s", "timeout": "1h"}
_RETRIES: Any = {"max_retries": 4, "retry_timeout": timedelta(seconds=30)}
_THREADS = 32
_PUTS_AT_ONCE = 6
"""Each has up to five parts in memory."""


class Stopped(Exception):
    """The transfer is not wanted any more."""


@dataclass(frozen=True, slots=True)
class Found:
    """One object. ``changed`` is in s since 1970, by the server's clock."""

    key: str
    changed: float


class Bucket:
    """Methods raise Unavailable for whatever may pass, which saving the block anew may bring about."""

    def __init__(self, block: str, bucket: str) -> None:
        self._block: SavedBlock[S3Credentials] = SavedBlock(_kind, block)
        self._bucket = bucket
        self._store: tuple[S3Credentials, Any] | None = None
        self._puts = asyncio.Semaphore(_PUTS_AT_ONCE)
        self._threads = concurrent.futures.ThreadPoolExecutor(_THREADS, thread_name_prefix="s3")

    async def has(self, key: str) -> bool:
        """Whether there is an object of this key, which then is whole."""
        try:
            await self._do(lambda store: _obstore().head(store, key), may_lack=True)
        except FileNotFoundError:
            return False
        return True

    async def put(self, key: str, blocks: Iterator[bytes], size: int) -> None:
        """Write an object of about so many bytes, as a whole or not at all.

        Errors of ours that come with the blocks are raised as they are; obstore aborts the upload.
        """
        stop = threading.Event()
        part = max(PART, size // _MOST_PARTS + 1)

        def send(store: Any) -> None:
            source = _until(stop, blocks)
            first = _first(source, part)
            if len(first) < part:
                _obstore().put(store, key, first, use_multipart=False)
            else:
                _obstore().put(
                    store, key, chain([first], source), chunk_size=part, max_concurrency=_PARTS_AT_ONCE
                )

        async with self._puts:
            await self._do(send, stop.set)

    async def get(self, key: str, use: Callable[["Download"], T]) -> T:
        """Return what a function makes of an object, in a thread. Raises FileNotFoundError without one."""
        stop = threading.Event()
        return await self._do(
            lambda store: use(Download(_obstore().get(store, key), stop)), stop.set, may_lack=True
        )

    async def remove(self, keys: Iterable[str]) -> None:
        """Remove objects; harmless for those that are not there."""
        wanted = list(keys)

        def remove(store: Any) -> None:
            with suppress(FileNotFoundError):
                _obstore().delete(store, wanted)

        await self._do(remove)

    async def objects(self, prefix: str) -> list[Found]:
        """Return all objects below a prefix, which ends where a name does; unfinished ones, too."""
        found = await self._do(lambda store: list(chain.from_iterable(_obstore().list(store, prefix))))
        begun = await uploads.under_way(await self._block.current(), self._bucket, f"{prefix}/")
        return [Found(one["path"], one["last_modified"].timestamp()) for one in found] + [
            Found(upload.key, upload.begun) for upload in begun
        ]

    async def check(self, prefix: str) -> None:
        """Ask for the first objects below a prefix."""
        await self._do(lambda store: next(iter(_obstore().list(store, prefix, chunk_size=1)), None))

    async def signed(self, method: Literal["GET", "PUT"], key: str, seconds: float) -> str:
        """Return an address that needs no keys for so long, or for as long as ours are good."""
        return cast(
            str,
            await self._do(lambda store: _obstore().sign(store, method, key, timedelta(seconds=seconds))),
        )

    async def abort_uploads(self, prefix: str) -> None:
        """Remove the parts of uploads below a prefix that nobody has completed."""
        block = await self._block.current()
        await uploads.abort(block, self._bucket, prefix)

    async def _do(
        self,
        work: Callable[[Any], T],
        stop: Callable[[], object] = lambda: None,
        *,
        may_lack: bool = False,
    ) -> T:
        """Do it in a thread. ``may_lack``: the object may not be there, which is a FileNotFoundError."""
        block = await self._block.current()
        if self._store is None or self._store[0] is not block:
            store = block.store(self._bucket, client_options=_TIMES, retry_config=_RETRIES)
            self._store = block, store
        store = self._store[1]
        try:
            return await to_the_end(lambda: work(store), executor=self._threads, stop=stop)
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error) or not may_lack:
                raise Unavailable(
                    f"There is no bucket {self._bucket}: make it, or correct its name."
                ) from error
            raise
        except _obstore().exceptions.BaseError as error:
            self._block.doubt(block)
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> Unavailable:
        wrong = _obstore().exceptions
        if isinstance(error, wrong.PermissionDeniedError | wrong.UnauthenticatedError):
            return Unavailable(
                f"The keys of the block {self._block.name} are refused for the bucket {self._bucket}: save "
                "the block with others, or allow them what they need."
            )
        said = " ".join(str(error).partition("\n")[0].split())
        return Unavailable(f"The bucket {self._bucket} cannot be used now ({said}).")

    def close(self) -> None:
        """Let go of the threads; those that transfer something end when that is cancelled."""
        self._threads.shutdown(wait=False)


class Download(Blockwise):
    """The bytes of an object, in a thread; ``size`` is of all."""

    def __init__(self, result: Any, stop: threading.Event) -> None:
        super().__init__()
        self.size: int = result.meta["size"]
        self._blocks = _until(stop, iter(result.stream(_BLOCK)))

    def next_block(self) -> bytes:
        return bytes(next(self._blocks, b""))


def _obstore() -> Any:
    import obstore  # an extra
    import obstore.exceptions

    return obstore


def _kind() -> "type[S3Credentials]":
    from blocks import S3Credentials

    return S3Credentials


def _until(stop: threading.Event, blocks: Iterator[Any]) -> Iterator[Any]:
    for block in blocks:
        if stop.is_set():
            raise Stopped
        yield block


def _first(blocks: Iterator[bytes], size: int) -> bytes:
    parts, length = [], 0
    while length < size and (block := next(blocks, b"")):
        parts.append(block)
        length += len(block)
    return b"".join(parts)
