"""The other machine where it speaks SFTP only: many small requests, as many as possible at once."""

import asyncio
import concurrent.futures
import logging
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar, cast

from asyncssh import SFTPAttrs, SFTPClient, SFTPClientFile, SFTPFailure, SFTPNoSuchFile, SFTPPermissionDenied

from flows.errors import Unavailable
from flows.ssh.host import SshHost
from flows.staging import failures, listing, sending
from flows.staging.bridge import BLOCK, Bridge
from flows.staging.far_side import Found
from flows.staging.landing import Landing
from flows.staging.listing import DIRECTORY, FILE, LINK, Entry, Listing
from flows.staging.names import Names
from flows.staging.sftp_failures import of_sftp

logger = logging.getLogger(__name__)

T = TypeVar("T")

AT_ONCE = 20
"""Files, or other requests, on one channel."""

_UNKNOWN = " "
"""SFTP says nothing of inodes and times of changes other than those of the content."""

_KINDS = {stat.S_IFDIR: DIRECTORY, stat.S_IFREG: FILE, stat.S_IFLNK: LINK}
_PRIVATE = SFTPAttrs(permissions=0o700)


class BySftp:
    """A far side; see ``FarSide``."""

    def __init__(self, host: SshHost, executor: concurrent.futures.Executor) -> None:
        self._host = host
        self._executor = executor

    async def check(self) -> None:
        async with self._sftp() as sftp:
            await sftp.stat(b".")

    async def stored(self, entry: Path) -> dict[str, float]:
        found: dict[str, float] = {}
        async with self._sftp() as sftp:
            with suppress(SFTPNoSuchFile):
                async for child in sftp.scandir(_encoded(str(entry))):
                    found[_decoded(child.filename)] = float(child.attrs.mtime or 0)
        return found

    async def put(self, names: Names, job_dir: Path, sent: Listing) -> Listing | None:
        draft = _encoded(names.path(names.draft))
        async with self._sftp() as sftp:
            if await sftp.isdir(_encoded(names.path(names.directory))):
                return None
            await sftp.makedirs(_encoded(str(names.entry)), _PRIVATE, exist_ok=True)
            await self._remove(sftp, names, await self._take(sftp, names))
            await sftp.mkdir(draft, _PRIVATE)
            for name in _of_kind(sent, DIRECTORY):
                await sftp.mkdir(_below(draft, name), _PRIVATE)
            for name in _of_kind(sent, LINK):
                await sftp.symlink(_encoded(sent[name].target), _below(draft, name))
            await at_once(
                lambda name: self._send(sftp, job_dir, name, sent[name], draft), _of_kind(sent, FILE)
            )
            there, _ = await _listed(sftp, draft)
            async with sftp.open(_encoded(names.path(names.inputs_of_draft)), "wb", encoding=None) as file:
                await _written(file, listing.write(there))
            return there

    async def _send(self, sftp: SFTPClient, job_dir: Path, name: str, entry: Entry, draft: bytes) -> None:
        async with sftp.open(_below(draft, name), "wb", SFTPAttrs(permissions=0o600), encoding=None) as file:
            bridge = Bridge(self._executor, self._host.name)

            def copy() -> None:
                for block in sending.blocks(job_dir, name):
                    bridge.wait(_written(file, block))

            await bridge.run(copy)
            # Last: each write sets the time anew.
            seconds = entry.mtime // 10**9
            await file.setstat(SFTPAttrs(atime=seconds, mtime=seconds, permissions=sending.mode(entry)))

    async def publish(self, names: Names) -> None:
        draft, directory = _encoded(names.path(names.draft)), _encoded(names.path(names.directory))
        async with self._sftp() as sftp:
            if await sftp.isdir(directory):
                return
            try:
                await sftp.posix_rename(draft, directory)
            except SFTPFailure:
                if not await sftp.isdir(directory):
                    raise
                return
            inputs = _encoded(names.path(names.inputs_of_draft))
            await sftp.posix_rename(inputs, _encoded(names.path(names.inputs)))

    async def look(self, names: Names) -> Found | None:
        directory = _encoded(names.path(names.directory))
        async with self._sftp() as sftp:
            if not await sftp.isdir(directory):
                # The disk may just be away.
                await sftp.stat(_encoded(str(names.entry)))
                return None
            there, denied = await _listed(sftp, directory)
            inputs: Listing = {}
            with suppress(SFTPNoSuchFile, ValueError):
                async with sftp.open(_encoded(names.path(names.inputs)), "rb", encoding=None) as file:
                    inputs = listing.parse(await file.read(listing.MAX_BYTES))
        return Found(listing.consistent(there), inputs, f"{denied[0]}: Permission denied" if denied else "")

    async def fetch(self, names: Names, wanted: Listing, landing: Landing) -> None:
        directory = _encoded(names.path(names.directory))
        async with self._sftp() as sftp:
            await at_once(lambda name: self._fetch(sftp, directory, name, wanted[name], landing), wanted)

    async def _fetch(
        self, sftp: SFTPClient, directory: bytes, name: str, entry: Entry, landing: Landing
    ) -> None:
        with suppress(SFTPNoSuchFile, SFTPPermissionDenied):  # it is missed later
            opened = await _allowed(
                sftp, _below(directory, name), lambda path: sftp.open(path, "rb", encoding=None)
            )
            async with opened as file:
                bridge = Bridge(self._executor, self._host.name)

                def content() -> Iterator[bytes]:
                    left = entry.size
                    while left >= 0 and (block := bridge.wait(_read(file))):
                        left -= len(block)
                        yield block

                def receive() -> None:
                    try:
                        landing.receive(name, entry, content())
                    except ConnectionError as error:
                        raise self._host.lost() from error
                    except OSError as error:
                        raise failures.here(error) from error

                await bridge.run(receive)

    async def remove(self, names: Names) -> None:
        async with self._sftp() as sftp:
            doomed = [names.directory, names.inputs, names.guard, *await self._drafts(sftp, names)]
            await self._remove(sftp, names, doomed)

    async def _take(self, sftp: SFTPClient, names: Names) -> list[str]:
        """Give the drafts of other attempts names that only this one knows; return these."""
        taken = []
        for number, draft in enumerate(await self._drafts(sftp, names)):
            with suppress(SFTPNoSuchFile):
                name = f"{names.taken}{number}"
                await sftp.posix_rename(_encoded(names.path(draft)), _encoded(names.path(name)))
                taken.append(name)
        return taken

    async def _drafts(self, sftp: SFTPClient, names: Names) -> list[str]:
        with suppress(SFTPNoSuchFile):
            found = [_decoded(name) for name in await sftp.listdir(_encoded(str(names.entry)))]
            return [name for name in found if name.startswith(names.drafts) and "/" not in name]
        return []

    async def _remove(self, sftp: SFTPClient, names: Names, doomed: list[str]) -> None:
        for name in doomed:
            path = _encoded(names.path(name))
            with suppress(SFTPNoSuchFile):
                try:
                    await _removed(sftp, path)
                except (SFTPFailure, SFTPPermissionDenied) as error:
                    # As in a shell: not worth to keep the job waiting.
                    logger.warning("%s: %s cannot be removed: %s", self._host.name, path, error.reason)

    @asynccontextmanager
    async def _sftp(self) -> AsyncIterator[SFTPClient]:
        with of_sftp(self._host.name):
            async with self._host.sftp() as sftp:
                yield sftp


async def _read(file: SFTPClientFile) -> bytes:
    return cast(bytes, await file.read(BLOCK))


async def _written(file: SFTPClientFile, block: bytes) -> None:
    try:
        await file.write(block)
    except SFTPFailure as error:  # in the common version of SFTP there is no word for a full disk
        raise failures.full() from error


async def _listed(sftp: SFTPClient, top: bytes) -> tuple[Listing, list[str]]:
    """Return what is below the top, and the directories that are denied to us."""
    found: Listing = {}
    denied: list[str] = []
    level = [""]
    while level:
        below: list[str] = []

        async def read(directory: str, below: list[str] = below) -> None:
            try:
                children = await _allowed(sftp, _below(top, directory), sftp.readdir)
            except SFTPPermissionDenied:
                denied.append(directory)
                return
            for child in children:
                name = _decoded(child.filename)
                if name in {".", ".."}:
                    continue
                if "/" in name or len(found) >= listing.MAX_ENTRIES:
                    raise Unavailable(f"A directory is not listed properly ({name!r}).")
                path = f"{directory}/{name}".lstrip("/") if directory else name
                entry = await _entry(sftp, child.attrs, _below(top, path))
                if entry is not None:
                    found[path] = entry
                if entry is not None and entry.kind == DIRECTORY:
                    below.append(path)

        await at_once(read, level)
        level = below
    return found, denied


async def _entry(sftp: SFTPClient, attributes: SFTPAttrs, path: bytes) -> Entry | None:
    permissions = attributes.permissions or 0
    kind = _KINDS.get(stat.S_IFMT(permissions))
    if kind is None:
        return None
    return Entry(
        kind,
        size=(attributes.size or 0) if kind == FILE else 0,
        mtime=(attributes.mtime or 0) * 10**9,
        changed=_UNKNOWN,
        executable=bool(permissions & 0o100),
        target=_decoded(await sftp.readlink(path)) if kind == LINK else "",
    )


async def _allowed(sftp: SFTPClient, path: bytes, ask: Callable[[bytes], Awaitable[T]]) -> T:
    """Ask; allow it first where a job has denied it to its own user."""
    try:
        return await ask(path)
    except SFTPPermissionDenied:
        await sftp.chmod(path, 0o700)
        return await ask(path)


async def _removed(sftp: SFTPClient, path: bytes) -> None:
    attributes = await sftp.lstat(path)
    if stat.S_IFMT(attributes.permissions or 0) != stat.S_IFDIR:
        await sftp.remove(path)
        return
    there, _ = await _listed(sftp, path)
    # Also what is no plain file, and so is not listed.
    directories = [name for name, entry in there.items() if entry.kind == DIRECTORY]
    await at_once(lambda name: _emptied(sftp, _below(path, name)), ["", *directories])
    for name in sorted(directories, key=lambda name: -name.count("/")):
        await sftp.rmdir(_below(path, name))
    await sftp.rmdir(path)


async def _emptied(sftp: SFTPClient, directory: bytes) -> None:
    await sftp.chmod(directory, 0o700)
    for child in await sftp.readdir(directory):
        if stat.S_IFMT(child.attrs.permissions or 0) != stat.S_IFDIR:
            await sftp.remove(_below(directory, _decoded(child.filename)))


async def at_once(work: Callable[[str], Awaitable[None]], names: Iterable[str]) -> None:
    """Do it for all names, some of them at once. The first error ends all, and is raised."""
    left = iter(list(names))

    async def one_after_the_other() -> None:
        for name in left:
            await work(name)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(one_after_the_other())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors


def _of_kind(there: Listing, kind: str) -> list[str]:
    return [name for name, entry in there.items() if entry.kind == kind]


def _encoded(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _decoded(path: str | bytes) -> str:
    return path if isinstance(path, str) else path.decode("utf-8", "surrogateescape")


def _below(top: bytes, name: str) -> bytes:
    return top + b"/" + _encoded(name) if name else top
