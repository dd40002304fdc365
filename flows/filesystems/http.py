"""Filesystem of destinations whose other side comes to fetch the input, and brings the outputs, by HTTP."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, TypeVar

from pydantic import AnyHttpUrl, BaseModel, ConfigDict, Field

from flows.destinations.surroundings import Surroundings
from flows.disk.places import OUTPUTS
from flows.disk.writable import check_writable
from flows.errors import StagingFailed, Unavailable
from flows.staging import failures, sending
from flows.transfers import arrivals
from flows.transfers.offers import Offer, Terms, TransferOver
from flows.transfers.sent_tar import Limits
from flows.waiting.patience import Delays
from flows.waiting.threads import to_the_end

logger = logging.getLogger(__name__)

T = TypeVar("T")

GRACE = 30.0
"""Seconds that outputs may come later than the word that the job has ended."""

_LOOKS = Delays(0.1, longest=2.0)
_DAY = 86_400


class Filesystem:
    """The files stay here: whoever runs the job fetches and brings them. See ``flows.transfers``."""

    files_are_here: ClassVar[bool] = False

    class Config(BaseModel):
        """``api_url`` is where jobs find this service that come for their files without a pilot.

        ``credential_days`` is the longest that a job may wait and run there. The others are of what comes
        back from one job.
        """

        model_config = ConfigDict(extra="forbid", frozen=True)

        api_url: AnyHttpUrl | None = None
        credential_days: float = Field(default=14.0, gt=0, le=3650)
        max_files: int = Field(default=100_000, gt=0)
        max_bytes: int = Field(default=100_000_000_000, gt=0)

        @property
        def limits(self) -> Limits:
            """What may come back from one job."""
            return Limits(self.max_files, self.max_bytes)

    def __init__(self, config: Config, surroundings: Surroundings) -> None:
        self._job_root = surroundings.place.job_root
        self._terms = Terms(
            destination=surroundings.destination,
            lifetime=int(config.credential_days * _DAY),
            api_url=None if config.api_url is None else str(config.api_url),
        )

    async def stage_in(self, job_dir: Path, token: str) -> Path:
        """Offer the files; return the name of a directory for them, below whatever place the far side has."""

        def offer() -> None:
            Offer(job_dir, token).make(sending.scan(job_dir), self._terms)

        await _here(offer)
        return Path(token)

    async def stage_out(self, job_dir: Path, token: str) -> None:
        try:
            landed = await self._landed(Offer(job_dir, token))
        except TransferOver:
            # After a crash between removing it and writing that down, nothing is left to do.
            if not await _here(lambda: any((job_dir / name).exists() for name in OUTPUTS)):
                raise StagingFailed("What the job has sent is gone here; submit it again.") from None
            return
        progress = await _here(lambda: arrivals.merge(landed, job_dir))
        if progress.left_away:
            logger.warning("%s: %d links that lead out, or pipes, are left away", job_dir, progress.left_away)

    async def _landed(self, offer: Offer) -> Path:
        """Return where the outputs are. They may be seen later here than where they have come in."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + GRACE
        for pause in _LOOKS:
            if (landed := await _here(lambda: arrivals.take(offer))) is not None:
                return landed
            if await _here(lambda: arrivals.is_moving(offer)):
                raise Unavailable("The job's outputs are on their way.")
            if loop.time() > deadline:
                break
            await asyncio.sleep(pause)
        raise StagingFailed("The job has ended and has not sent its outputs; submit it again.")

    async def remove(self, job_dir: Path, token: str) -> None:
        await _here(Offer(job_dir, token).withdraw)

    async def check(self) -> None:
        await check_writable(self._job_root)

    async def close(self) -> None:
        pass


async def _here(work: Callable[[], T]) -> T:
    """Do work on this machine's disk in a thread."""
    try:
        return await to_the_end(work)
    except OSError as error:
        raise failures.here(error) from error
