"""What the shell at another machine does with our scripts: looked at once at each connecting."""

import asyncio
from dataclasses import dataclass
from shlex import quote

import asyncssh

from flows.ssh.command_line import command_line
from flows.ssh.marks import Mark, readable

Process = asyncssh.SSHClientProcess[bytes]

_SECONDS = 60.0
_NEEDED = "cat chmod grep ln ls mkdir mv readlink rm sed wc"
_ODD = 'It\'s "here": `a` $b \\n !c {d,e} [f]* %g ~ #h ü\n\n  ^i^j^\t.'
_ENOUGH, _ALL = 3, 4
"""Exit statuses: without GNU's tools, and with them."""

# What is read has to come back as it was, and what is written, too.
LOOK = f"""
cat
printf '%s\\n' {quote(_ODD)}
lacks=
for tool in {_NEEDED}; do command -v "$tool" >/dev/null 2>&1 || lacks="$lacks $tool"; done
echo "lacks:$lacks"
echo apart >&2
for tool in tar find mv; do "$tool" --version 2>/dev/null | grep -q GNU || exit {_ENOUGH}; done
exit {_ALL}
"""
READ = b"read\n"
_SAID = f"{_ODD}\n".encode()


@dataclass(frozen=True, slots=True)
class Shell:
    """``trouble`` is why our scripts cannot be run. ``streams``: files can be sent in streams.

    For that there are GNU's tar, find and mv, and nothing comes after what they say but their exit status.
    ``greeting`` is what each login prints by itself to its output.
    """

    trouble: str | None = None
    streams: bool = False
    greeting: bytes = b""


async def look(connection: asyncssh.SSHClientConnection) -> Shell:
    """Find out. Raises TimeoutError and what asyncssh raises of connections that are lost."""
    mark = Mark()
    async with asyncio.timeout(_SECONDS):
        try:
            process = await connection.create_process(command_line(mark.around(LOOK)), encoding=None)
        except asyncssh.ChannelOpenError as error:
            if connection.is_closed():
                raise
            return Shell(trouble=f"it opens no session for commands ({error.reason})")
        try:
            stdout, stderr = await communicate(process, READ)
        finally:
            process.close()
    if process.returncode is None and connection.is_closed():
        raise asyncssh.ConnectionLost("the connection was lost")
    return judged(mark, stdout, stderr, process.returncode)


def judged(mark: Mark, stdout: bytes, stderr: bytes, status: int | None) -> Shell:
    """Conclude from what was printed, and from the exit status that arrived."""
    answer = mark.answer(stdout, stderr)
    if answer is None:
        return Shell(trouble=f"instead of running our commands, it says {readable(stdout + stderr)}")
    greeting = stdout.partition(mark.begin)[0]
    said, _, lacks = answer.stdout.removesuffix(b"\n").rpartition(b"lacks:")
    if b"apart" not in answer.stderr.split() or b"apart" in answer.stdout.split():
        trouble = "it does not keep outputs and errors of commands apart"
    elif lacks:
        trouble = f"it lacks the commands {', '.join(lacks.decode(errors='replace').split())}"
    elif not said.startswith(READ):
        trouble = "its login reads what is sent to commands"
    elif said != READ + _SAID:
        trouble = "it changes the text of commands"
    else:
        streams = answer.status == status == _ALL and not answer.farewell
        return Shell(streams=streams, greeting=greeting)
    return Shell(trouble=trouble, greeting=greeting)


async def communicate(process: Process, input: bytes) -> tuple[bytes, bytes]:
    """Write what the process may read, and return its outputs once it has ended."""
    try:
        return await process.communicate(input)
    except BrokenPipeError:
        # It ended before we came to write, without reading any of it: how it ended is what counts.
        return await process.communicate()
