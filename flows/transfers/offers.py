"""What is offered of a job to whoever runs it elsewhere, and to whom it was given.

All of it is in one directory beside the job's, so that what has come needs no copying::

    offer             what is offered; the job's directory has the files themselves
    0/                the first turn; when the job is given anew, the next one takes its place
      claim           who has it
      drafts/         outputs on their way, an attempt each
      landed/         outputs that have come as a whole
"""

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from flows.disk import names, private_files
from flows.disk.durability import fsync
from flows.disk.trees import remove_tree
from flows.errors import StagingFailed, VisitorError
from flows.staging import listing
from flows.staging.listing import Listing
from flows.transfers.credentials import Grant, TransferKey


class TransferOver(VisitorError):
    """The job has ended, so there is nothing to fetch or to bring any more."""


class GivenToAnother(VisitorError):
    """Somebody else has the job."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What a destination offers its jobs on. ``lifetime`` of a credential is in s, ``api_url`` for others."""

    destination: str
    lifetime: int
    api_url: str | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """What the far side needs: ``url`` is that of the job's transfers; see ``api.routes.transfers``."""

    url: str
    credential: str


class Offer:
    """Of one job. Its methods block; TransferOver is raised where nothing is offered any more."""

    def __init__(self, job_dir: Path, token: str) -> None:
        self.job_dir = job_dir
        self._token = token
        self._directory = job_dir.with_name(names.transfer(token))
        self._file = self._directory / "offer"

    def make(self, inputs: Listing, terms: Terms) -> None:
        """Offer these files; what is offered already stays as it is."""
        if self._file.exists():
            return
        _make_turn(self._directory / "0")
        draft = self._directory / f".offer.{secrets.token_hex(4)}"
        private_files.write_bytes(draft, json.dumps(asdict(terms)).encode() + b"\n" + listing.write(inputs))
        draft.rename(self._file)
        fsync(self._directory)
        fsync(self._directory.parent)

    def withdraw(self) -> None:
        """End all that goes on, and remove what has not been taken."""
        mine = self._directory.with_name(names.withdrawn(self._token))
        with suppress(FileNotFoundError):
            self._directory.rename(mine)
            remove_tree(mine)

    def read(self) -> tuple[Terms, Listing]:
        """Return the terms, and what is offered."""
        with _unless_over():
            head, _, rest = self._file.read_bytes().partition(b"\n")
        return Terms(**json.loads(head)), listing.parse(rest)

    def terms(self) -> Terms:
        """Return the terms alone, however much is offered."""
        with _unless_over(), self._file.open("rb") as file:
            return Terms(**json.loads(file.readline()))

    @property
    def turn(self) -> int:
        """How often the job was given anew."""
        with _unless_over():
            return max(int(path.name) for path in self._directory.iterdir() if path.name.isdecimal())

    @property
    def landed(self) -> Path:
        """Where outputs are once they have come as a whole, of this turn."""
        return self.of_turn(self.turn) / "landed"

    def of_turn(self, turn: int) -> Path:
        """Return the directory of a turn, which goes when the turn is over."""
        return self._directory / str(turn)

    def check_turn(self, turn: int) -> None:
        """Raise GivenToAnother when the turn is over."""
        if turn != self.turn:
            raise GivenToAnother("The job was given to another; stop working on it.")

    def claimed_by(self) -> str | None:
        """Return who has the job; None before anybody has claimed it."""
        try:
            return (self.of_turn(self.turn) / "claim").read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def claim(self, claimant: str, turn: int) -> None:
        """Give the job to the claimant in this turn. Raises GivenToAnother, also when it is not this turn."""
        self.check_turn(turn)
        directory = self.of_turn(turn)
        try:
            has_it = private_files.kept(directory / "claim", lambda: claimant)
            fsync(directory)
        except FileNotFoundError:
            self.check_turn(turn)
            raise
        if has_it != claimant:
            raise GivenToAnother("Another pilot has claimed the job; leave it.")

    def release(self, claimant: str, turn: int) -> None:
        """Give the job anew where the claimant has it, and does not begin. Harmless when the turn is over.

        Raises GivenToAnother.
        """
        if self.turn == turn and self.claimed_by() not in {None, claimant}:
            raise GivenToAnother("Another pilot has claimed the job; leave it.")
        self.give_anew(turn)

    def give_anew(self, turn: int) -> None:
        """End a turn: whoever has the job loses it, with all that it has sent. Harmless when it is over."""
        if (before := self.turn) > turn:
            return
        _make_turn(self.of_turn(turn + 1))
        fsync(self._directory)
        ended = self._directory / f".{before}.{secrets.token_hex(4)}"
        with suppress(FileNotFoundError):
            self.of_turn(before).rename(ended)
            remove_tree(ended)

    def credential(self, key: TransferKey, turn: int) -> tuple[str, int]:
        """Return a credential for who has the job in a turn, and until when it is good, in s since 1970."""
        terms = self.terms()
        expires = int(time.time()) + terms.lifetime
        grant = Grant(
            job_id=int(self.job_dir.name),
            token=self._token,
            destination=terms.destination,
            turn=turn,
            expires=expires,
        )
        return key.credential(grant), expires

    def access(self, key: TransferKey) -> Access:
        """Return what a scheduler hands to a job that comes for its files itself.

        Raises StagingFailed where the filesystem does not say under which address it finds us.
        """
        terms = self.terms()
        if terms.api_url is None:
            raise StagingFailed(f"The filesystem of {terms.destination} has no api_url; tell the operator.")
        credential, _ = self.credential(key, self.turn)
        return Access(f"{terms.api_url.rstrip('/')}/api/transfer/{self.job_dir.name}", credential)


def _make_turn(directory: Path) -> None:
    for name in ("drafts", "landed"):
        (directory / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    fsync(directory)


@contextmanager
def _unless_over() -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, ValueError) as error:
        raise TransferOver("The job has ended; nothing is fetched or taken for it any more.") from error
