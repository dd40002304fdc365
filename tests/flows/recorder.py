"""This machine, as a host that keeps what was run on it and goes wrong on purpose."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from flows.destinations.host import Completed
from flows.errors import Unavailable
from flows.local.host import ThisMachine


class Recorder:
    """This machine; keeps what was run on it and from when to when. ``before`` goes before each command."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.times: list[tuple[float, float]] = []
        self.before = ""
        self.loses = False
        self._host = ThisMachine()

    async def run(self, command: str, *, seconds: float = 60.0, input: bytes = b"") -> Completed:
        number, began = len(self.commands), time.monotonic()
        self.commands.append(command)
        self.times.append((began, math.inf))
        completed = await self._host.run(self.before + command, seconds=seconds, input=input)
        self.times[number] = (began, time.monotonic())
        if self.loses:
            raise Unavailable("The connection was lost.")
        return completed

    @contextmanager
    def losing_answers(self) -> Iterator[None]:
        """Commands are run, and nobody learns how they ended."""
        self.loses = True
        yield
        self.loses = False

    def when(self, part: str) -> list[tuple[float, float]]:
        """Return from when to when the commands ran that hold this."""
        return [times for command, times in zip(self.commands, self.times, strict=True) if part in command]
