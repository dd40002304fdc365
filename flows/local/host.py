"""This machine, as one that short commands of ours are run on."""

import asyncio
import os

from flows.destinations.host import Completed
from flows.errors import Unavailable
from flows.local import children
from flows.local.environment import clean_environment

_BATCH_SYSTEMS = ("SLURM_", "SGE_")


class ThisMachine:
    """Runs commands here. They see our variables of batch systems, and none that is a secret."""

    async def run(self, command: str, *, seconds: float = 60.0, input: bytes = b"") -> Completed:
        process = await children.start(
            "/bin/sh",
            "-c",
            command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd="/",
            env=clean_environment(
                {name: v for name, v in os.environ.items() if name.startswith(_BATCH_SYSTEMS)}
            ),
        )
        try:
            async with asyncio.timeout(seconds):
                stdout, stderr = await process.communicate(input)
        except TimeoutError as error:
            raise Unavailable(f"A command took longer than {seconds:g} s on this machine.") from error
        finally:
            await children.end(process)
        return Completed(
            process.returncode or 0, stdout.decode(errors="replace"), stderr.decode(errors="replace")
        )
