"""The other machine where it has a shell and GNU's tar and find: one stream for all files of a job."""

import asyncio
import concurrent.futures
import logging
from contextlib import suppress
from pathlib import Path
from shlex import quote

import asyncssh

from flows.archives import tars
from flows.archives.compression import Blockwise
from flows.archives.contents import Member, no_plain_file
from flows.errors import InvalidUpload, Unavailable
from flows.ssh.host import SshHost
from flows.ssh.shell import Process
from flows.staging import failures, listing, sending
from flows.staging.bridge import BLOCK, Bridge
from flows.staging.far_side import Found
from flows.staging.landing import Landing
from flows.staging.listing import Listing
from flows.staging.names import Names
from flows.staging.scripts import PRELUDE, started

logger = logging.getLogger(__name__)

_GROWTH = 256 << 20
"""Bytes by which files may have grown since they were listed."""

_REMOVE_SECONDS = 600.0

# Of the other OSErrors, this machine's disk is the cause.
CONNECTION_ERRORS = (ConnectionError, asyncssh.Error)

_STORED = """
[ -d {entry} ] || {{ say none; exit; }}
say some
exec find {entry} -mindepth 1 -maxdepth 1 -printf '%T@ %f\\0'
"""
_PUT = """
set -e
mkdir -p -- {entry}
cd -- {entry}
if [ -d {directory} ]; then say there; exit 0; fi
n=0
for other in {drafts}*; do
    n=$((n + 1))
    mv -T -- "$other" {taken}$n 2>/dev/null || [ ! -e "$other" ]
done
rm -rf -- {taken}*
mkdir {draft}
say ready
cd {draft}
tar -xf -
find . -mindepth 1 -printf '{format}' >../{inputs_of_draft}
say "$(wc -c <../{inputs_of_draft})"
cat ../{inputs_of_draft}
"""
_PUBLISH = """
cd -- {entry} || exit
[ ! -d {directory} ] || exit 0
mv -T -- {draft} {directory} || {{ [ -d {directory} ]; exit; }}
mv -f -- {inputs_of_draft} {inputs}
"""
# Only "No such file" says that the job's directory is gone: the disk may just be away.
# What a job has denied to its own user is allowed again.
_LOOK = """
cd -- {entry} || exit
if [ ! -d {directory} ]; then
    ls -d {directory} 2>&1 >/dev/null | grep -q 'No such file or directory$' && say away && exit 0
    ls -d {directory} >/dev/null; exit 2
fi
cd {directory} || exit
size=$(wc -c 2>/dev/null <../{inputs}) || size=0
find . \\( -type d ! -perm -700 -o -type f ! -perm -400 \\) -exec chmod u+rwX {{}} \\; 2>/dev/null
say "$size"
[ "$size" = 0 ] || cat ../{inputs}
exec find . -mindepth 1 -printf '{format}'
"""
# Older versions of tar take names with a hyphen at their beginning for options: all begin with ./ here.
_FETCH = """
cd -- {entry}/{directory} || exit
say ready
exec tar --blocking-factor=64 --format=gnu --no-recursion --hard-dereference --null -T - -cf -
"""
_REMOVE = """
cd -- {entry} || exit 0
rm -rf -- {all} 2>/dev/null && exit
chmod -R u+rwX -- {directory} 2>/dev/null
rm -rf -- {all}
"""


class ByShell:
    """A far side; see ``FarSide``."""

    def __init__(self, host: SshHost, executor: concurrent.futures.Executor) -> None:
        self._host = host
        self._executor = executor

    async def check(self) -> None:
        async with started(self._host, "say here") as command:
            await command.answer()

    async def stored(self, entry: Path) -> dict[str, float]:
        async with started(self._host, _STORED.format(entry=quote(str(entry)))) as command:
            if await command.answer() == "none":
                return {}
            found = await command.rest(listing.MAX_BYTES)
        lines = [line.partition(" ") for line in found.decode("utf-8", "surrogateescape").split("\0")[:-1]]
        return {name: float(changed) for changed, _, name in lines}

    async def put(self, names: Names, job_dir: Path, sent: Listing) -> Listing | None:
        async with started(self._host, _filled(_PUT, names)) as command:
            if await command.answer() == "there":
                return None
            bridge = Bridge(self._executor, self._host.name)
            sink = _ToProcess(command.process, bridge)
            try:
                await bridge.run(lambda: sending.write_tar(job_dir, sent, sink))
                command.process.stdin.write_eof()
            except CONNECTION_ERRORS:
                logger.debug("tar does not read any more", exc_info=True)  # its end, below, says why
            except OSError as error:
                raise failures.here(error) from error
            size = await command.answer()
            data = await command.rest(listing.MAX_BYTES)
            if size != str(len(data)):
                raise Unavailable(f"{self._host.name} has sent half of a listing.")
            return self._parsed(data)

    async def publish(self, names: Names) -> None:
        done = await self._host.run(PRELUDE + _filled(_PUBLISH, names))
        if done.status:
            raise failures.of_command(self._host.name, done.status, done.stderr)

    async def look(self, names: Names) -> Found | None:
        async with started(self._host, _filled(_LOOK, names)) as command:
            if (answer := await command.answer()) == "away":
                return None
            data = await command.rest(2 * listing.MAX_BYTES, accepted=(0, 1))
            trouble = command.errors if command.process.returncode else ""
        size = int(answer)
        there = listing.consistent(self._parsed(data[size:]))
        try:
            return Found(there, listing.parse(data[:size]), trouble)
        except ValueError:
            logger.warning("%s at %s is damaged: all files come back", names.inputs, self._host.name)
            return Found(there, {}, trouble)

    async def fetch(self, names: Names, wanted: Listing, landing: Landing) -> None:
        async with started(self._host, _filled(_FETCH, names)) as command:
            await command.answer()
            asking = asyncio.ensure_future(_ask(command.process, wanted))
            bridge = Bridge(self._executor, self._host.name)
            source = _FromProcess(command.process, bridge)
            try:
                await bridge.run(lambda: _receive(source, wanted, landing))
                await command.rest(0, accepted=(0, 1, 2))  # what tar could not read is missed later
            except InvalidUpload as error:
                if source.ended:
                    raise await command.end() from error
                raise Unavailable(f"{self._host.name} does not send a proper tar ({error}).") from error
            except CONNECTION_ERRORS as error:
                raise self._host.lost() from error
            except OSError as error:
                raise failures.here(error) from error
            finally:
                asking.cancel()
                await asyncio.wait([asking])

    async def remove(self, names: Names) -> None:
        done = await self._host.run(PRELUDE + _filled(_REMOVE, names), seconds=_REMOVE_SECONDS)
        if done.status:
            # The outputs are safe: what is left over there is no reason to keep the job waiting.
            logger.warning("%s: %s cannot be removed: %s", self._host.name, names.token, done.stderr.strip())

    def _parsed(self, data: bytes) -> Listing:
        try:
            return listing.parse(data)
        except ValueError as error:
            raise Unavailable(f"{self._host.name} does not list files properly ({error}).") from error


class _ToProcess:
    """Where a thread writes to."""

    def __init__(self, process: Process, bridge: Bridge) -> None:
        self._process = process
        self._bridge = bridge

    def write(self, data: bytes) -> None:
        self._bridge.wait(self._write(data))

    async def _write(self, data: bytes) -> None:
        self._process.stdin.write(data)
        await self._process.stdin.drain()


class _FromProcess(Blockwise):
    """Where a thread reads from; ``ended`` when nothing more will come."""

    def __init__(self, process: Process, bridge: Bridge) -> None:
        super().__init__()
        self._process = process
        self._bridge = bridge
        self.ended = False

    def next_block(self) -> bytes:
        block = self._bridge.wait(self._process.stdout.read(BLOCK))
        self.ended = not block
        return block


class _Wanted:
    """Refuses what was not asked for."""

    def __init__(self, wanted: Listing) -> None:
        self.max_entries = len(wanted)
        self._wanted = wanted
        self._left = listing.total_size(wanted.values()) + _GROWTH
        self._seen: set[str] = set()

    def add(
        self,
        raw_name: str,
        *,
        is_dir: bool,
        size: int,
        executable: bool = False,
        copy_of: str | None = None,
        mtime: int = 0,
    ) -> Member:
        name = raw_name.removeprefix("./")
        self._left -= size
        if is_dir or copy_of is not None or name not in self._wanted or name in self._seen or self._left < 0:
            raise InvalidUpload("It holds more than was asked for.")
        self._seen.add(name)
        return Member(name, is_dir=False, size=size)

    def pass_by(self, raw_name: str, kind: int, target: str) -> None:
        raise no_plain_file(raw_name)


def _receive(source: _FromProcess, wanted: Listing, landing: Landing) -> None:
    for member, content in tars.members(source, _Wanted(wanted)):
        landing.receive(member.name, wanted[member.name], content)


async def _ask(process: Process, wanted: Listing) -> None:
    asked = "".join(f"./{name}\0" for name in wanted).encode("utf-8", "surrogateescape")
    with suppress(ConnectionError):  # who reads the answer sees it too
        for at in range(0, len(asked), BLOCK):
            process.stdin.write(asked[at : at + BLOCK])
            await process.stdin.drain()
        process.stdin.write_eof()


def _filled(script: str, names: Names) -> str:
    parts = (names.directory, names.inputs, names.guard)
    return script.format(
        entry=quote(str(names.entry)),
        directory=quote(names.directory),
        inputs=quote(names.inputs),
        inputs_of_draft=quote(names.inputs_of_draft),
        drafts=quote(names.drafts),
        draft=quote(names.draft),
        taken=quote(names.taken),
        all=" ".join([*map(quote, parts), quote(names.drafts) + "*"]),
        format=listing.FORMAT,
    )
