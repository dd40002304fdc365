"""The far side of transfers: what a pilot calls to get a job's files, and to send back what came of them.

Everything waits for a service that is away, for as long as it takes: who is tired of that cancels it.
"""

from dataclasses import dataclass, field
from pathlib import Path

from flows.errors import BartenderError
from flows.staging.listing import Listing


class TransferRefused(BartenderError):
    """The service has answered, and does not take or give: trying again is of no use.

    ``status`` is 401 for a credential that is over, when the job can be claimed again; 403 for one that is
    for something else; 409 for a job that was given to another; 410 for one that has ended; 413 and 422 for
    outputs that are not taken.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, slots=True)
class Credential:
    """What moves the files of one job until it ``expires``, in s since 1970."""

    job_id: int
    expires: float
    secret: str = field(repr=False)


async def claim(api_url: str, pilot_key: str, token: str, claimant: str) -> Credential:
    """Return a credential for the job of this token, which is the claimant's from then on.

    ``claimant`` names the pilot, of at most 200 printable characters: the same one again gets another
    credential, with a later end; any other is refused (409) unless the worker gave the job anew.
    Raises TransferRefused.
    """
    raise NotImplementedError


async def fetch_input(api_url: str, credential: Credential, directory: Path) -> Listing:
    """Fill the directory, which is made anew, with the job's input; return it, for ``send_output``.

    ``flows.staging.listing`` has ``write`` and ``parse``, by which a listing outlives a process.
    Raises TransferRefused, and OSError of this machine's disk.
    """
    raise NotImplementedError


async def send_output(api_url: str, credential: Credential, directory: Path, inputs: Listing) -> None:
    """Send what is in the directory, but for the inputs that are as they were; return once it is safe there.

    It may be repeated. Nobody should write there meanwhile. Raises TransferRefused, and OSError.
    """
    raise NotImplementedError
