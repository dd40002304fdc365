"""Filesystem of destinations on another machine that is reached by SSH."""

import asyncio
import concurrent.futures
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict

from flows.archives.contents import shown
from flows.destinations.filesystem import Stored
from flows.destinations.surroundings import Surroundings
from flows.errors import StagingFailed, Unavailable
from flows.ssh.config import SshConfig
from flows.ssh.host import SshHost
from flows.staging import failures, sending
from flows.staging.by_sftp import BySftp
from flows.staging.by_shell import ByShell
from flows.staging.far_side import FarSide, Found
from flows.staging.landing import Landing
from flows.staging.listing import Listing
from flows.staging.names import Names, token_of
from flows.waiting.threads import to_the_end

logger = logging.getLogger(__name__)

T = TypeVar("T")

_ROUNDS = 3
"""How often files are asked for that change while they are sent."""

_THREADS = 32


def _absolute(entry: Path) -> Path:
    if not entry.is_absolute() or ".." in entry.parts:
        raise ValueError("must be an absolute path without ..")
    return entry


class Filesystem:
    """A job has a directory there that is named by its token.

    It is made as a whole or not at all, and never touched again by ``stage_in``: the job may be running.
    """

    files_are_here: ClassVar[bool] = False

    class Config(BaseModel):
        """``entry`` is the directory there that holds the directories of jobs."""

        model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

        ssh_config: SshConfig
        entry: Annotated[Path, AfterValidator(_absolute)] = Path("/")

    def __init__(self, config: Config, surroundings: Surroundings) -> None:
        self._entry = config.entry
        self._host: SshHost = surroundings.connections.ssh_host(config.ssh_config)
        self._executor = concurrent.futures.ThreadPoolExecutor(_THREADS, thread_name_prefix="sftp")

    async def stage_in(self, job_dir: Path, token: str) -> Path:
        names = Names(self._entry, token)
        try:
            sent = await asyncio.to_thread(sending.scan, job_dir)
        except OSError as error:
            raise failures.here(error) from error
        far = await self._far_side()
        if (there := await far.put(names, job_dir, sent)) is not None:
            if not sending.arrived(sent, there):
                raise Unavailable(f"Not all files have arrived at {self._host.name}.")
            await far.publish(names)
        return Path(names.path(names.directory))

    async def stage_out(self, job_dir: Path, token: str) -> None:
        names, landing = Names(self._entry, token), Landing(job_dir, token)
        far = await self._far_side()
        found, missing = await self._fetch(far, names, landing)
        if found is None:
            # After a crash between removing it and writing that down, nothing is left to do.
            if not await _here(landing.has_outputs):
                raise StagingFailed("The job's files are gone at the destination; submit it again.")
            return
        await _here(lambda: landing.merge(found.there))
        if found.trouble or missing:
            what = f"of {shown(missing[0])}" if missing else f"({found.trouble.splitlines()[-1]})"
            raise StagingFailed(
                f"Some outputs {what} could not be read at the destination; the others are here."
            )

    async def _fetch(self, far: FarSide, names: Names, landing: Landing) -> tuple[Found | None, list[str]]:
        """Let everything land; return what there is, and what of it has not landed."""
        for _ in range(_ROUNDS):
            if (found := await far.look(names)) is None:
                return None, []
            wanted = await _wanted(landing, found)
            if wanted:
                await far.fetch(names, wanted, landing)
            if not (missing := landing.missing(wanted)):
                break
            logger.info("%s: %d files have changed or gone meanwhile", names.token, len(missing))
        return found, missing

    async def remove(self, job_dir: Path, token: str) -> None:
        far = await self._far_side()
        await far.remove(Names(self._entry, token))
        await _here(Landing(job_dir, token).remove_draft)

    async def stored(self) -> list[Stored]:
        far = await self._far_side()
        changed: dict[str, float] = {}
        for name, when in (await far.stored(self._entry)).items():
            if (token := token_of(name)) is not None:
                changed[token] = max(changed.get(token, 0.0), when)
        return [Stored(token, last) for token, last in changed.items()]

    async def check(self) -> None:
        far = await self._far_side()
        await far.check()

    async def _far_side(self) -> FarSide:
        return (ByShell if await self._host.streams() else BySftp)(self._host, self._executor)

    async def close(self) -> None:
        """Transfers that go on end with their connections, which are closed after this."""
        self._executor.shutdown(wait=False)


async def _wanted(landing: Landing, found: Found) -> Listing:
    return await _here(lambda: landing.wanted(found.there, found.inputs))


async def _here(work: Callable[[], T]) -> T:
    """Do work on this machine's disk in a thread."""
    try:
        return await to_the_end(work)
    except OSError as error:
        raise failures.here(error) from error
