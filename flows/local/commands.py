"""Commands on this machine that outlive the process that started them.

Each leads a session of its own, with a wrapper (``flows.local.wrapper``) at its head; what becomes of it is
on the disk (``flows.local.kept``). Linux only: ends are learned from pidfds, without polling.
"""

import asyncio
import logging
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.destinations.scheduler import Submission
from flows.disk.durability import fsync
from flows.errors import CommandFailed, InternalError, JobFailure
from flows.local import kept, wrapper
from flows.local.environment import MARK
from flows.local.kept import Kept
from flows.local.processes import end_session, exit_of, is_alive, is_any_alive, is_shortage
from flows.waiting.threads import to_the_end

logger = logging.getLogger(__name__)

LOST = CommandFailed("The command was lost; submit it again.")

_LOOK_INTERVAL = 0.05
_LOOKS = 40  # for what a wrapper does right after it has made `started`


@dataclass(frozen=True, slots=True)
class End:
    """How a command ended: with a return code, or by a failure."""

    returncode: int | None
    failure: JobFailure | None


class LocalCommands:
    """The commands of one destination that this worker has.

    Those of other workers of this machine, in the directories beside, can be followed and ended too. What is
    no coroutine waits for the disk.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._not_noted: dict[str, JobFailure] = {}

    def add(self, submission: Submission) -> Kept:
        """Write the command down, durably; a token that is there is left as it is, if it can be run."""
        token = submission.token
        found = self.read(token)
        if found is None or not found.can_run:
            self.forget(token)
            kept.write_down(self._directory / token, submission)
        fsync(self._at(token).parent)
        if (found := self.read(token)) is None:
            raise FileNotFoundError(f"{self._at(token)} was removed by somebody else")
        return found

    def read(self, token: str) -> Kept | None:
        """Return what is kept of the command; None of one that was not added, or is forgotten."""
        return kept.read(self._at(token))

    def tokens(self) -> list[str]:
        """Return the names of all that were added and not forgotten, whatever is in them."""
        if not self._directory.is_dir():
            return []
        return [path.name for path in self._directory.iterdir() if kept.is_command(path.name)]

    def waiting(self) -> list[str]:
        """Return the tokens of those that have not started."""
        found = {token: self.read(token) for token in self.tokens()}
        return [token for token, one in found.items() if one is not None and not one.has_started]

    def submitted(self) -> list[tuple[Submission, Kept]]:
        """Return all that were added and not forgotten, by job; those that cannot be read are left out."""
        found = []
        for token in self.tokens():
            if (one := self.read(token)) is not None and one.submission is not None:
                found.append((one.submission, one))
            elif one is not None:
                logger.error("%s", one.damage)
        return sorted(found, key=lambda pair: pair[0].job_id)

    def _at(self, token: str) -> Path:
        own = self._directory / token
        if own.is_dir():
            return own
        others = self._directory.parents[1].glob(f"*/{self._directory.name}/{token}")
        return next(others, own)

    async def launch(self, token: str, environment: Mapping[str, str]) -> bool:
        """Start the command unless it was started or forgotten before.

        False when what was written down cannot be read. OSError when the machine cannot just now.
        """
        # To the end: a child that was started by then has to be known.
        return await to_the_end(lambda: self._launch(token, environment))

    def _launch(self, token: str, environment: Mapping[str, str]) -> bool:
        found = self.read(token)
        if found is None or found.has_started:
            return True
        if not found.can_run:
            logger.error("%s", found.damage)
            return False
        self._children[token] = wrapper.start(found, environment)
        return True

    async def wait(self, token: str) -> End:
        """Wait for the end of a command that has started, by whichever process; nothing of it is left then.

        OSError when the machine cannot tell just now.
        """
        child = self._children.get(token)
        if child is not None:
            await exit_of(child.pid, None)
            status = child.wait()  # returns at once: the process has ended
            del self._children[token]
            if status == wrapper.NOT_STARTED:
                return End(None, InternalError("The command could not be started; submit it again later."))
            # A second wrapper gives way to the first one, which then is what to wait for.
        found = await self._started(token)
        # A busy machine may let its wrapper wait before that has written down what it is.
        while _is_unclear(found) and await asyncio.to_thread(is_any_alive, self._mark(token)):
            found = await self._started(token)
        if found is not None and found.process is not None and found.returncode is None:
            await exit_of(*found.process)
            found = await asyncio.to_thread(self.read, token)
        end = self._end_of(token, found)
        if end.failure is not None and not (found is not None and found.was_restarted):
            # Its wrapper was killed, or whoever ended it was interrupted: the rest of it may go on.
            await end_session(None, self._mark(token))
        return end

    def _end_of(self, token: str, found: Kept | None) -> End:
        if found is None:
            return End(None, self._not_noted.get(token) or LOST)
        failure = found.ending or self._not_noted.get(token)
        if failure is None and found.returncode is None:
            failure = found.failure
        return End(found.returncode, failure)

    @staticmethod
    def _mark(token: str) -> str:
        return f"{MARK}={token}"

    async def _started(self, token: str) -> Kept | None:
        """Return what is kept once its wrapper has written its process down, or should have."""
        found = await asyncio.to_thread(self.read, token)
        for _ in range(_LOOKS):
            if not _is_unclear(found):
                break
            await asyncio.sleep(_LOOK_INTERVAL)
            found = await asyncio.to_thread(self.read, token)
        return found

    async def end(self, token: str, failure: JobFailure) -> None:
        """End the command and all that it started; one that has not started never will.

        OSError when the machine cannot just now. What was begun by then is done; do it again.
        """
        if not await to_the_end(lambda: self._keep_from_starting(token, failure)):
            return
        found = await self._started(token)
        process = None if found is None else found.process
        # The session of a wrapper that is gone may be somebody else's by now.
        leader = process if process is not None and is_alive(*process) else None
        await end_session(leader, self._mark(token))

    def _keep_from_starting(self, token: str, failure: JobFailure) -> bool:
        """Return whether the command has started and not ended."""
        found = self.read(token)
        if found is None or found.returncode is not None:
            return False
        if found.ending is None:  # else by whoever was first
            self._note(found, token, failure)
        try:
            (found.directory / "started").mkdir()
        except FileExistsError:
            return True
        kept.write_no_process(found.directory)
        return False

    def _note(self, found: Kept, token: str, failure: JobFailure) -> None:
        try:
            kept.write_failure(found.directory, failure)
        except OSError as error:
            if is_shortage(error):
                raise
            # An earlier version kept no room for it. To end the command may be what makes room.
            logger.exception("Why command %s is ended cannot be noted; it is ended all the same", token)
            self._not_noted[token] = failure

    def forget(self, token: str) -> None:
        """Remove what is kept of the command."""
        self._not_noted.pop(token, None)
        kept.remove(self._at(token))


def _is_unclear(found: Kept | None) -> bool:
    """Whether the command may have a process that is not written down."""
    if found is None or found.was_restarted:
        return False
    return found.process is None and found.returncode is None
