"""A job and its output, followed to the end."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from api.files.open_file import NotThere
from api.live.growing import Piece, Position, read_on, tail_start
from api.services import Services
from api.watching import INTERVAL, Watched
from flows.configuration.config import Config
from flows.jobs.job import Job, State

MOST = 1 << 15
"""Bytes of a piece."""


@dataclass(frozen=True, slots=True)
class Written:
    """What came next in an output file."""

    name: str
    content: bytes

    @property
    def is_full(self) -> bool:
        """Whether there may be more: only the beginning of a character can have been left away."""
        return len(self.content) > MOST - 4


def runs_here(job: Job, config: Config) -> bool:
    """Whether the job's destination works in the job's own directory, so that output is there at once."""
    destination = config.destinations.get(job.destination or "")
    return destination is not None and destination.filesystem.implementation.files_are_here


def is_written_here(job: Job, config: Config) -> bool:
    """Whether the command may write to the job's directory now; what is there before is the visitor's."""
    return job.state in (State.RUNNING, State.STAGING_OUT) and runs_here(job, config)


async def beginning(job: Job, name: str, tail: int | None, services: Services) -> Position:
    """Return where to begin with a file: at the last lines of what is there now, if so many are asked for.

    A file that is not there yet is all new.
    """
    if tail is None or not is_written_here(job, services.config):
        return Position()
    try:
        return await services.on_disk(tail_start, services.place.job_dir(job.id), name, tail)
    except NotThere:
        return Position()


class Output:
    """Output files of a job, and up to where they were read.

    ``whole`` gives whole UTF-8 characters as long as the command may still write the rest of one.
    """

    def __init__(
        self, job: Job, positions: Mapping[str, Position], services: Services, *, whole: bool
    ) -> None:
        self.positions = dict(positions)
        self._directory = services.place.job_dir(job.id)
        self._services = services
        self._whole = whole

    async def next(self) -> AsyncGenerator[Written]:
        """Yield what has come since, MOST bytes of each file at most."""
        for name, piece in (await self._services.on_disk(self._read_all)).items():
            if piece.content:
                # Not before it is wanted: the positions are those of what was yielded.
                yield self._taken(name, piece)

    def _read_all(self) -> dict[str, Piece]:
        return {name: self._read(name, MOST, self._whole) for name in self.positions}

    def _read(self, name: str, most: int, whole: bool) -> Piece:
        return read_on(self._directory, name, self.positions[name], most, whole=whole)

    def _taken(self, name: str, piece: Piece) -> Written:
        self.positions[name] = piece.position
        return Written(name, piece.content)

    async def rest(self) -> AsyncGenerator[Written]:
        """Yield what is there after the end of the job: as much as there is now, whoever writes on."""
        for name in self.positions:
            left = (await self._services.on_disk(self._read, name, 0, False)).left
            while left:
                most = min(MOST, left)
                # The last piece as it is: there will be no rest of a character.
                whole = self._whole and most < left
                piece = await self._services.on_disk(self._read, name, most, whole)
                if not piece.content:
                    break
                left -= len(piece.content)
                yield self._taken(name, piece)


async def follow(watched: Watched, output: Output, config: Config) -> AsyncGenerator[Job | Written | None]:
    """Yield the job as it is and at each change, and its output; None when nothing happened for a while.

    The job that has ended comes last, after all output. A job that was deleted ends without that.
    """
    seen: Job | None = None
    while (job := watched.job) is not None:
        if job.state.is_final:
            async with aclosing(output.rest()) as rest:
                async for written in rest:
                    yield written
            yield job
            return
        if job is not seen:
            yield job
            seen = job
        more = False
        if is_written_here(job, config):
            async with aclosing(output.next()) as news:
                async for written in news:
                    yield written
                    more = more or written.is_full
        # After less than a piece too: a command that writes without pause is to cost one read for each wait.
        if not more:
            await watched.wait(INTERVAL)
            yield None
