"""How a job's files get to a pilot and back."""

import asyncio
import os
from pathlib import Path
from typing import Protocol

from flows.destinations.filesystem import guard
from flows.disk.places import STDOUT
from flows.errors import unavailable_for_now
from flows.pilots.orders import Order


class AlreadyBegun(Exception):
    """The command was begun by another pilot: this one must not."""


class NotHere(Exception):
    """This pilot does not get to the job's files, which another one may; the text says why.

    ``was_taken``: the command may have been taken for this pilot, and is to be given back.
    """

    def __init__(self, reason: str, *, was_taken: bool = False) -> None:
        super().__init__(reason)
        self.was_taken = was_taken


class JobOver(Exception):
    """The job had ended before the command began."""


class JobFiles(Protocol):
    """The files of jobs of one type of filesystem. Each method may be repeated after any failure.

    All raise Unavailable for what passes, and JobFailure for what does not.
    """

    async def fetch(self, order: Order, directory: Path) -> Path:
        """Take the job's command for this pilot alone, and return the directory that it has to run in.

        ``directory`` is the job's at this pilot, which may be used for that. Raises AlreadyBegun, JobOver
        and NotHere.
        """
        ...

    async def send(self, order: Order, directory: Path) -> None:
        """Bring the outputs to where the service finds them. ``directory`` is that of ``fetch``.

        Raises NotHere for each refusal but that of the outputs: the command has run, and whose it is now is
        Prefect's to say.
        """
        ...

    async def give_back(self, order: Order) -> None:
        """Let another pilot take the command, which has not begun, in the next turn. Raises NotHere."""
        ...


class SharedDisk:
    """The job's directory is the same here as for the service. ``identity`` tells this pilot from others.

    Beside it is the guard, with a note of who began each turn: a symbolic link, which one of all can make.
    """

    def __init__(self, identity: str) -> None:
        self._identity = identity

    async def fetch(self, order: Order, directory: Path) -> Path:
        with unavailable_for_now(f"The job's directory {order.directory} cannot be used"):
            return await asyncio.to_thread(self._begin, order)

    def _begin(self, order: Order) -> Path:
        there = Path(order.directory)
        if not there.is_dir():
            raise NotHere(f"{there} is not there at the pilot {self._identity}: is the disk shared?")
        note = _note(order)
        if not note.parent.is_dir() and (there / STDOUT).exists():
            raise AlreadyBegun  # and ended: the guard is removed then
        note.parent.mkdir(mode=0o700, exist_ok=True)
        if any(_turn(name) > order.turn for name in os.listdir(note.parent)):  # noqa: PTH208 - names alone
            raise AlreadyBegun
        try:
            note.symlink_to(self._identity)
        except FileExistsError:
            if os.readlink(note) != self._identity:  # noqa: PTH115 - it is no path
                raise AlreadyBegun from None
        return there

    async def send(self, order: Order, directory: Path) -> None:
        """They are there."""

    async def give_back(self, order: Order) -> None:
        """The next turn has a note of its own."""


def _note(order: Order) -> Path:
    return guard(Path(order.directory), order.token) / _name(order.turn)


def _name(turn: int) -> str:
    return f"turn-{turn}"


def _turn(name: str) -> int:
    """Return the turn of a note; -1 of what else is there."""
    number = name.removeprefix("turn-")
    return int(number) if number.isdecimal() else -1
