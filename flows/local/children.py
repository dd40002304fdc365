"""Short processes of our own whose outputs are read: they end with who waits for them.

asyncio leaves two ways to wait for ever (Python 3.11.7, base_subprocess.py). A cancellation while a process
is started kills that one process and waits until all its pipes are closed, which its children hold. And the
end of a process is told only once its outputs were read to their end, which nobody does after a time-out.
"""

import asyncio
import os
import signal
from contextlib import suppress
from typing import Any


async def start(*command: str, **options: Any) -> asyncio.subprocess.Process:
    """Start a process that leads a session of its own; end it where this is cancelled meanwhile.

    The options are those of ``asyncio.create_subprocess_exec``.
    """
    work = asyncio.create_subprocess_exec(*command, start_new_session=True, **options)
    starting = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        while not starting.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([starting])
        if starting.exception() is None:
            await end(starting.result())
        raise


async def end(process: asyncio.subprocess.Process) -> None:
    """Kill the process with its session's group, and return once it has ended; harmless afterwards.

    What one that has ended by itself left running is left alone, and not listened to any more.
    """
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    for descriptor in range(3):
        # Nothing public closes them. Not the whole transport: that takes the exit status from who waits.
        pipe = process._transport.get_pipe_transport(descriptor)  # type: ignore[attr-defined]
        if pipe is not None:
            pipe.close()
    await process.wait()
