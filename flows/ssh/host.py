"""Another machine, by SSH."""

import asyncio
import shlex
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import asyncssh

from flows.destinations.host import Completed
from flows.errors import Unavailable
from flows.ssh.config import SshConfig
from flows.ssh.link import Link, Process, SessionRefused

__all__ = ["Process", "SshHost"]

_OPEN_SECONDS = 30.0
_TOOLS = "bartender: tools"
_ASK_FOR_TOOLS = f"""
for tool in tar find mv; do $tool --version 2>/dev/null | grep -q GNU || exit; done
echo '{_TOOLS}'
"""


class SshHost:
    """Two connections at the most, made when they are needed: one for commands, one for files.

    So commands never wait for files.
    """

    def __init__(self, config: SshConfig) -> None:
        self.name = config.name
        self._config = config
        self._has_tools: bool | None = None
        self._asking = asyncio.Lock()
        self._commands = Link(self.name, self._connect)
        self._files = Link(self.name, self._connect)

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[asyncssh.SSHClientConnection]:
        credentials = await self._config.credentials()
        async with credentials.connect() as connection:
            yield connection

    async def run(self, command: str, *, seconds: float = 60.0, input: bytes = b"") -> Completed:
        """Run a command line of ``/bin/sh`` in the home directory; see ``flows.destinations.host.Host``.

        Its time begins when it has a channel to run in.
        """

        async def start(connection: asyncssh.SSHClientConnection) -> Process:
            stdin = asyncssh.PIPE if input else asyncssh.DEVNULL
            return await connection.create_process(shell(command), encoding=None, stdin=stdin)

        async with self._commands.channel(start, seconds) as process:
            try:
                async with asyncio.timeout(seconds):
                    stdout, stderr = await _communicate(process, input)
            except TimeoutError as error:
                # That says nothing of the host: keepalive finds out about one that is frozen.
                raise Unavailable(f"A command took longer than {seconds:g} s on {self.name}.") from error
            status = process.returncode
        if status is None:
            raise self.lost()
        return Completed(status, stdout.decode(errors="replace"), stderr.decode(errors="replace"))

    def process(self, command: str) -> AbstractAsyncContextManager[Process]:
        """Start a command line of ``/bin/sh``, for bytes to stream to and from; end it at the end.

        Once it has ended, ``returncode`` is None when the connection was lost.
        """

        async def start(connection: asyncssh.SSHClientConnection) -> Process:
            return await connection.create_process(shell(command), encoding=None)

        return self._files.channel(start, _OPEN_SECONDS)

    def sftp(self) -> AbstractAsyncContextManager[asyncssh.SFTPClient]:
        """Open an SFTP client. Names are bytes."""

        async def start(connection: asyncssh.SSHClientConnection) -> asyncssh.SFTPClient:
            return await connection.start_sftp_client(path_encoding=None)

        return self._files.channel(start, _OPEN_SECONDS)

    async def has_tools(self) -> bool:
        """Whether there is a shell with GNU's tar, find and mv, and not SFTP only. Asked once."""
        async with self._asking:
            if self._has_tools is None:
                try:
                    done = await self.run(_ASK_FOR_TOOLS)
                except SessionRefused:
                    self._has_tools = False
                else:
                    # An account for SFTP only may accept any command and run its SFTP server instead.
                    self._has_tools = _TOOLS in done.stdout.splitlines()
        return self._has_tools

    def lost(self) -> Unavailable:
        """Return the error of a connection that was lost."""
        return Unavailable(f"The connection to {self.name} was lost.")

    async def close(self) -> None:
        """Close the connections. Commands go on there."""
        await asyncio.gather(self._commands.close(), self._files.close())


async def _communicate(process: Process, input: bytes) -> tuple[bytes, bytes]:
    try:
        return await process.communicate(input)
    except BrokenPipeError:
        # It ended before we came to write, without reading any of it: how it ended is what counts.
        return await process.communicate()


def shell(command: str) -> str:
    """Return a command line for whatever shell the user has there."""
    return f"exec /bin/sh -c {shlex.quote(command)}"
