"""What stage in and stage out need of the other machine, however it is reached."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from flows.staging.landing import Landing
from flows.staging.listing import Listing
from flows.staging.names import Names


@dataclass(frozen=True, slots=True)
class Found:
    """What a job's directory holds, what was brought there, and what could not be looked at."""

    there: Listing
    inputs: Listing
    trouble: str = ""


class FarSide(Protocol):
    """The other machine. All methods may be repeated, and raise Unavailable or StagingFailed."""

    async def check(self) -> None:
        """Reach it."""
        ...

    async def stored(self, entry: Path) -> dict[str, float]:
        """Return what there is in a directory, and when each was changed last; in s since 1970, there."""
        ...

    async def put(self, names: Names, job_dir: Path, sent: Listing) -> Listing | None:
        """Make a draft of what is listed; return what is in it, or None when the job is there already."""
        ...

    async def publish(self, names: Names) -> None:
        """Make the draft the job's directory."""
        ...

    async def look(self, names: Names) -> Found | None:
        """List the job's directory; None when there is none."""
        ...

    async def fetch(self, names: Names, wanted: Listing, landing: Landing) -> None:
        """Let the files land. Some may have gone, and do not."""
        ...

    async def remove(self, names: Names) -> None:
        """Remove all that there is of the job."""
        ...
