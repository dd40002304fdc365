"""Machines that commands of ours are run on: this one, and others by SSH."""

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from flows.environments import clean_environment
from flows.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Completed:
    """What a command that ended by itself left. The texts are whole; bytes that are no UTF-8 are replaced."""

    status: int
    stdout: str
    stderr: str


class Host(Protocol):
    """Runs short commands of ours, such as ``squeue``; never those of applications."""

    async def run(self, command: str, *, seconds: float = 60.0, input: bytes = b"") -> Completed:
        """Run a command line of the host's shell and return how it ended, whatever its status.

        It reads ``input``, which nobody there sees in a list of processes. A connection that breaks may give
        the command a part of it only.

        Raises Unavailable when that cannot be known: the host is away, the connection was lost, or
        ``seconds`` are over. The command may have run, or may run still.
        """
        ...


class ThisMachine:
    """Runs commands here. They see Slurm's variables of our environment, and none that is a secret."""

    async def run(self, command: str, *, seconds: float = 60.0, input: bytes = b"") -> Completed:
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd="/",
            env=clean_environment({name: v for name, v in os.environ.items() if name.startswith("SLURM_")}),
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(seconds):
                stdout, stderr = await process.communicate(input)
        except TimeoutError as error:
            raise Unavailable(f"A command took longer than {seconds:g} s on this machine.") from error
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        return Completed(
            process.returncode or 0, stdout.decode(errors="replace"), stderr.decode(errors="replace")
        )
