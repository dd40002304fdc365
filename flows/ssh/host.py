"""Another machine, by SSH."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

import asyncssh

from flows.destinations.host import Completed
from flows.errors import Unavailable
from flows.ssh import shell
from flows.ssh.command_line import command_line
from flows.ssh.config import SshConfig
from flows.ssh.errors import LOST
from flows.ssh.link import Link
from flows.ssh.marks import Mark, readable
from flows.ssh.reconnecting import Reconnecting
from flows.ssh.shell import Process, Shell, communicate
from flows.waiting import vanishing

_OPEN_SECONDS = 30.0
_LOGIN_SECONDS = 120.0
_SILENT_SECONDS = 45.0  # a line over far may be bad for a while


@dataclass(frozen=True, slots=True)
class Running:
    """A script that runs. What its login printed before is passed over, in ``process.stdout``."""

    process: Process
    mark: Mark


class SshHost:
    """Two connections at the most, made when they are needed: one for commands, one for files.

    So commands never wait for files. A third one is for hosts that are behind this one.
    """

    def __init__(self, config: SshConfig, gateway: "SshHost | None" = None) -> None:
        """``gateway`` is the host that this one is behind."""
        self.name = config.name
        self._config = config
        self._gateway = gateway
        self._files_shell = Shell()
        self._commands = Link(self.name, self._connect_for_commands)
        self._files = Link(self.name, self._connect_for_files)
        self._passage = Reconnecting(self.name, self._connect)

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[asyncssh.SSHClientConnection]:
        credentials = await self._config.credentials()
        async with AsyncExitStack() as stack:
            if self._gateway is None:
                connection = await stack.enter_async_context(credentials.connect())
            else:
                tunnel = await stack.enter_async_context(self._gateway.passage())
                with _refused(self._gateway.name, self.name):
                    connection = await stack.enter_async_context(credentials.connect(tunnel))
            vanishing.notice(connection.get_extra_info("socket"), _SILENT_SECONDS)
            yield connection

    def passage(self) -> AbstractAsyncContextManager[asyncssh.SSHClientConnection]:
        """Use the connection by which other hosts are reached; it is there at least until the end."""
        return self._passage.connection()

    @asynccontextmanager
    async def _connect_for_commands(self) -> AsyncIterator[asyncssh.SSHClientConnection]:
        async with self._connect() as connection:
            there = await shell.look(connection)
            if there.trouble is not None:
                raise Unavailable(f"{self.name} cannot run our commands: {there.trouble}.")
            yield connection

    @asynccontextmanager
    async def _connect_for_files(self) -> AsyncIterator[asyncssh.SSHClientConnection]:
        async with self._connect() as connection:
            self._files_shell = await shell.look(connection)
            yield connection

    async def run(self, command: str, *, seconds: float = 60.0, input: bytes = b"") -> Completed:
        """Run a command line of ``/bin/sh`` in the home directory; see ``flows.destinations.host.Host``.

        Its time begins when it has a channel to run in.
        """
        mark = Mark()

        async def start(connection: asyncssh.SSHClientConnection) -> Process:
            stdin = asyncssh.PIPE if input else asyncssh.DEVNULL
            return await connection.create_process(
                command_line(mark.around(command)), encoding=None, stdin=stdin
            )

        async with self._commands.channel(start, seconds) as process:
            try:
                async with asyncio.timeout(seconds):
                    stdout, stderr = await communicate(process, input)
            except TimeoutError as error:
                # That says nothing of the host: keepalive finds out about one that is frozen.
                raise Unavailable(f"A command took longer than {seconds:g} s on {self.name}.") from error
            status = process.returncode
        answer = mark.answer(stdout, stderr)
        if answer is None:
            raise self._unanswered(status, mark, stdout + stderr)
        return Completed(
            answer.status, answer.stdout.decode(errors="replace"), answer.stderr.decode(errors="replace")
        )

    def _unanswered(self, status: int | None, mark: Mark, printed: bytes) -> Unavailable:
        if status is None:
            return self.lost()
        if mark.begin in printed:
            return Unavailable(f"A command on {self.name} was ended before its answer was complete.")
        return Unavailable(f"{self.name} does not run our command; it says {readable(printed)}.")

    @asynccontextmanager
    async def process(self, script: str) -> AsyncIterator[Running]:
        """Start a script of ``/bin/sh``, for bytes to stream to and from; end it at the end.

        Once it has ended, its ``returncode`` is None when the connection was lost.
        """
        mark = Mark()

        async def start(connection: asyncssh.SSHClientConnection) -> Process:
            return await connection.create_process(command_line(mark.at_the_beginning(script)), encoding=None)

        async with self._files.channel(start, _OPEN_SECONDS) as process:
            await self._begun(process, mark)
            yield Running(process, mark)

    async def _begun(self, process: Process, mark: Mark) -> None:
        try:
            async with asyncio.timeout(_LOGIN_SECONDS):
                try:
                    await process.stdout.readuntil(mark.begin)
                except asyncio.IncompleteReadError as error:
                    if not process.stdout.at_eof():
                        raise Unavailable(f"{self.name} prints too much at the login.") from error
                    await process.wait_closed()
                    raise self._unanswered(process.returncode, mark, error.partial) from error
        except TimeoutError as error:
            raise Unavailable(f"{self.name} does not come to our command in time.") from error
        except LOST as error:
            raise self.lost() from error

    @asynccontextmanager
    async def sftp(self) -> AsyncIterator[asyncssh.SFTPClient]:
        """Open an SFTP client. Names are bytes."""

        async def start(connection: asyncssh.SSHClientConnection) -> asyncssh.SFTPClient:
            return await connection.start_sftp_client(path_encoding=None)

        async with AsyncExitStack() as stack:
            try:
                client = await stack.enter_async_context(self._files.channel(start, _OPEN_SECONDS))
            except Unavailable as error:
                if (greeting := self._files_shell.greeting) == b"":
                    raise
                raise Unavailable(
                    f"{error} What each login prints there, {readable(greeting)}, is in the way of SFTP: let "
                    "it be printed for terminals only."
                ) from error
            yield client

    async def streams(self) -> bool:
        """Whether files can be sent in streams of a shell and GNU's tools: else there may be SFTP only."""
        await self._files.ready()
        return self._files_shell.streams

    def lost(self) -> Unavailable:
        """Return the error of a connection that was lost."""
        return Unavailable(f"The connection to {self.name} was lost.")

    async def close(self) -> None:
        """Close the connections. Commands go on there."""
        await asyncio.gather(self._commands.close(), self._files.close(), self._passage.close())


@contextmanager
def _refused(gateway: str, name: str) -> Iterator[None]:
    try:
        yield
    except asyncssh.ChannelOpenError as error:
        raise Unavailable(f"{gateway} does not let us through to {name} ({error.reason}).") from error
