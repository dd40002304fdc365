"""Commands on another machine that bytes are streamed to or from."""

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from flows.errors import Unavailable
from flows.ssh.errors import LOST
from flows.ssh.host import Running, SshHost
from flows.staging import failures
from flows.staging.bridge import BLOCK, in_time

T = TypeVar("T")

PRELUDE = """
export LC_ALL=C
unset CDPATH POSIXLY_CORRECT TAR_OPTIONS
umask 077
say() { printf '%s\\n' "$1"; }
"""
"""Of each script: what a login may have set for its user is not for us; ``say`` gives an answer."""

_MAX_ERRORS = 8 << 10


class Command:
    """One that runs. Raises Unavailable when the connection is lost, or nothing is heard for too long."""

    def __init__(self, running: Running, host: SshHost) -> None:
        self.process = running.process
        self.host = host
        self._mark = running.mark
        self._errors = b""

    async def answer(self) -> str:
        """Return what the script says next. When it ends instead, raise the error of that."""
        if line := await self._step(self.process.stdout.readline()):
            return line.decode(errors="replace").strip()
        raise await self.end()

    async def rest(self, limit: int, accepted: Collection[int] = (0,)) -> bytes:
        """Return what else it writes, once it has ended with an accepted status; else raise its error."""
        blocks, size = [], 0
        while block := await self._step(self.process.stdout.read(BLOCK)):
            blocks.append(block)
            size += len(block)
            if size > limit:
                raise Unavailable(f"{self.host.name} sends more than {limit} bytes.")
        await self._step(self.process.wait_closed())
        if self.process.returncode not in accepted:
            raise self._failure()
        return b"".join(blocks)

    @property
    def errors(self) -> str:
        """What it wrote to its standard error, as far as that matters."""
        return self._mark.errors(self._errors).decode(errors="replace").strip()

    async def end(self) -> Exception:
        """Wait for its end, which is near; return the error of that."""
        await self._step(self.process.wait_closed())
        return self._failure()

    def _failure(self) -> Exception:
        status = self.process.returncode
        return (
            self.host.lost() if status is None else failures.of_command(self.host.name, status, self.errors)
        )

    async def read_errors(self) -> None:
        """Read them as they come: a command cannot go on whose errors nobody reads."""
        with suppress(*LOST):
            while block := await self.process.stderr.read(_MAX_ERRORS):
                self._errors = (self._errors + block)[-_MAX_ERRORS:]

    async def _step(self, step: Coroutine[Any, Any, T]) -> T:
        try:
            return await in_time(step, self.host.name)
        except LOST as error:
            raise self.host.lost() from error


@asynccontextmanager
async def started(host: SshHost, script: str) -> AsyncIterator[Command]:
    """Start a script; end it at the end."""
    async with host.process(PRELUDE + script) as running:
        command = Command(running, host)
        errors = asyncio.ensure_future(command.read_errors())
        try:
            yield command
        finally:
            errors.cancel()
            await asyncio.wait([errors])
