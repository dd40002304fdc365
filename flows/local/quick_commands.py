"""Commands that somebody waits for. They end with the waiting, and with this process whatever ends it.

That is at once, without the grace that commands of jobs have: others wait for the directory and for a turn.

Each leads a session of its own. The session's standard input is a pipe that only we hold the other end of: a
shell beside the command reads it, and ends the session when it is at its end, which is when we are no more.
"""

import asyncio
import errno
import os
import signal
import subprocess
import uuid
from contextlib import suppress
from dataclasses import dataclass

from flows.errors import InvalidUpload, Unavailable
from flows.local.environment import MARK, SHELL, clean_environment
from flows.local.processes import end_session, exit_of
from flows.waiting.threads import to_the_end

MAX_OUTPUT = 1 << 20
"""Bytes of each of the two outputs that are kept."""

LONGEST_COMMAND = (1 << 17) - 1  # bytes, of one argument: the kernel's limit

_PIECE = 1 << 16  # what a pipe holds
_PAUSE = 0.01
"""Seconds between two looks at an output of which no more is kept: it must not keep us busy."""

# $1 is the command; it does not get the pipe. The first line after `exec` is the shell beside it.
_WRAPPER = """
exec 3<&0 </dev/null
{ read -r line <&3; kill -9 0; } >/dev/null 2>&1 &
"$0" -c "$1" 3<&-
code=$?
{ kill -9 $!; wait; } 2>/dev/null
exit $code
"""


@dataclass(frozen=True, slots=True)
class Result:
    """What a command left. Bytes that are no UTF-8 are replaced; ``truncated`` if there was more."""

    returncode: int
    stdout: str
    stderr: str
    truncated: bool


async def run(command: str, directory: int, *, seconds: float) -> Result:
    """Run a shell command in an open directory and return its result; all that it started is ended then.

    Raises TimeoutError when ``seconds`` are over, InvalidUpload for a command that is too long for this
    machine, and Unavailable when it cannot start one now.
    """
    if len(command.encode()) > LONGEST_COMMAND:
        raise InvalidUpload("The values make a command that is too long; send shorter ones.")
    running = _Command(command, directory)
    try:
        await to_the_end(running.start)
        async with asyncio.timeout(seconds):
            return await running.result()
    finally:
        await running.end()


class _Command:
    def __init__(self, command: str, directory: int) -> None:
        self._arguments = [SHELL, "-c", _WRAPPER, SHELL, command]
        self._directory = directory
        self._token = uuid.uuid4().hex
        self._process: subprocess.Popen[bytes] | None = None
        self._outputs: list[_Output] = []
        self._ended_by_itself = False

    def start(self) -> None:
        try:
            self._process = subprocess.Popen(
                self._arguments,
                bufsize=0,
                cwd=f"/proc/self/fd/{self._directory}",
                env=clean_environment({MARK: self._token}),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            if error.errno == errno.E2BIG:
                raise InvalidUpload(
                    "The values make a command that is too long; send shorter ones."
                ) from error
            raise Unavailable("This machine cannot start a command now; try again later.") from error

    async def result(self) -> Result:
        process = self._process
        assert process is not None  # noqa: S101 - it was started
        assert process.stdout is not None and process.stderr is not None  # noqa: S101, PT018 - pipes
        self._outputs = [_Output(pipe.fileno()) for pipe in (process.stdout, process.stderr)]
        await exit_of(process.pid, None)
        self._ended_by_itself = True
        # Its number is not given to another process before we have asked for its status.
        _kill_group(process.pid)
        stdout, stderr = (output.close() for output in self._outputs)
        truncated = any(output.truncated for output in self._outputs)
        return Result(process.wait(), stdout, stderr, truncated)

    async def end(self) -> None:
        process = self._process
        if process is None:
            return
        if not self._ended_by_itself:
            _kill_group(process.pid)
        # Before anything that can be interrupted: the loop must not look at what is closed.
        for output in self._outputs:
            output.close()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        if not self._ended_by_itself:
            await end_session((process.pid, None), f"{MARK}={self._token}")  # those that left its group, too
            await exit_of(process.pid, None)
            process.wait()


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


class _Output:
    """What comes out of a pipe. All is read, so that the command goes on; only the first part is kept."""

    def __init__(self, descriptor: int) -> None:
        self.truncated = False
        self._descriptor = descriptor
        self._content = bytearray()
        self._closed = False
        self._pause: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self._look)

    def _look(self) -> None:
        piece = self._read()
        if piece == b"" or self.truncated:
            self._loop.remove_reader(self._descriptor)
        if piece and self.truncated:
            self._pause = self._loop.call_later(_PAUSE, self._go_on)

    def _go_on(self) -> None:
        self._loop.add_reader(self._descriptor, self._look)

    def _read(self) -> bytes | None:
        """Return what came: nothing at its end, None where there is nothing now."""
        try:
            piece = os.read(self._descriptor, _PIECE)
        except BlockingIOError:
            return None
        room = MAX_OUTPUT - len(self._content)
        self._content += piece[:room]
        self.truncated = self.truncated or len(piece) > room
        return piece

    def close(self) -> str:
        """Return the text with what is still in the pipe; harmless when done before."""
        if not self._closed:
            self._closed = True
            if self._pause is not None:
                self._pause.cancel()
            self._loop.remove_reader(self._descriptor)
            while not self.truncated and self._read():
                pass
        return self._content.decode(errors="replace")
