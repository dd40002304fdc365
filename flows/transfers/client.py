"""The far side of transfers: what a pilot calls to get a job's files, and to send back what came of them.

Everything waits for a service that is away, for as long as it takes: who is tired of that cancels it.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.errors import InvalidUpload, StagingFailed, Unavailable
from flows.staging.listing import Listing
from flows.transfers import outputs
from flows.transfers.service import (
    GivenElsewhere,
    OutputsNotTaken,
    Service,
    TransferEnded,
    TransferRefused,
    asked,
)
from flows.transfers.tar_stream import TarStream
from flows.waiting.patience import Delays, patiently

__all__ = [
    "Credential",
    "GivenElsewhere",
    "OutputsNotTaken",
    "TransferEnded",
    "TransferRefused",
    "claim",
    "fetch_input",
    "release",
    "send_output",
]

_PATIENT = Delays(0.5, longest=30.0)


@dataclass(frozen=True, slots=True)
class Credential:
    """What moves the files of one job until it ``expires``, in s since 1970."""

    job_id: int
    expires: float
    secret: str = field(repr=False)


async def claim(api_url: str, pilot_key: str, token: str, claimant: str, turn: int = 0) -> Credential:
    """Return a credential for the job of this token, which is the claimant's from then on in this turn.

    ``claimant`` names the pilot, of at most 200 ASCII characters: the same one again gets another
    credential, with a later end. Any other is refused (409), and so is who comes for another turn than the
    job's: the worker has given it anew.
    Raises TransferRefused.
    """

    def ask(service: Service) -> Credential:
        said = service.ask("POST", "claim", json={"token": token, "claimant": claimant, "turn": turn})
        return Credential(said["job_id"], said["expires"], said["credential"])

    return await patiently(
        lambda: asked(api_url, pilot_key, ask),
        delays=_PATIENT,
        what=f"The job {token} cannot be claimed now",
    )


async def release(api_url: str, pilot_key: str, token: str, claimant: str, turn: int) -> None:
    """Let others claim a job in its next turn; harmless when this one is over. Raises TransferRefused."""

    def ask(service: Service) -> None:
        service.ask("POST", "release", json={"token": token, "claimant": claimant, "turn": turn})

    await patiently(
        lambda: asked(api_url, pilot_key, ask),
        delays=_PATIENT,
        what=f"The job {token} cannot be given back now",
    )


async def fetch_input(api_url: str, credential: Credential, directory: Path) -> Listing:
    """Fill the directory, which is made anew, with the job's input; return it, for ``send_output``.

    ``flows.staging.listing`` has ``write`` and ``parse``, by which a listing outlives a process.
    Raises TransferRefused, and OSError of this machine's disk.
    """

    def fetch(service: Service) -> Listing:
        blocks = service.blocks(f"{credential.job_id}/input")
        try:
            return outputs.unpack(directory, lambda: next(blocks, b""))
        except InvalidUpload as error:
            raise Unavailable(f"{api_url} does not send a proper tar.") from error

    return await patiently(
        lambda: asked(api_url, credential.secret, fetch),
        delays=_PATIENT,
        what=f"The input of job {credential.job_id} does not come",
    )


async def send_output(api_url: str, credential: Credential, directory: Path, inputs: Listing) -> None:
    """Send what is in the directory, but for the inputs that are as they were; return once it is safe there.

    It may be repeated. Nobody should write there meanwhile. Raises TransferRefused, and OSError.
    """

    def send(service: Service) -> None:
        stream = TarStream(directory, outputs.unsent(outputs.scan(directory), inputs))
        try:
            _send(service, f"{credential.job_id}/output", stream)
        except StagingFailed as error:
            raise Unavailable(str(error)) from error

    await patiently(
        lambda: asked(api_url, credential.secret, send),
        delays=_PATIENT,
        what=f"The outputs of job {credential.job_id} cannot be sent now",
    )


def _send(service: Service, path: str, stream: TarStream) -> None:
    """Send what is not there yet."""
    received = service.ask("GET", path)
    start = received["offset"] if _is_ours(received, stream) else 0
    if start and received["complete"]:
        return
    headers = {"Content-Type": "application/x-tar", "Content-Length": str(stream.size - start)}
    if start:
        headers["Content-Range"] = f"bytes {start}-{stream.size - 1}/{stream.size}"
    digest = hashlib.sha256()
    answer = service.put(path, _hashed(stream.blocks(start), digest), headers)
    last = answer["parts"][-1]
    if last != {"end": stream.size, "sha256": digest.hexdigest()} and start != stream.size:
        raise Unavailable("What has come there is not what was sent.")


def _is_ours(received: dict[str, Any], stream: TarStream) -> bool:
    """Whether what has come is the beginning of this stream, or all of it."""
    if received["offset"] > stream.size or (received["complete"] and received["offset"] != stream.size):
        return False
    start = 0
    for part in received["parts"]:
        digest = hashlib.sha256()
        for _ in _hashed(stream.blocks(start, part["end"]), digest):
            pass
        if digest.hexdigest() != part["sha256"]:
            return False
        start = part["end"]
    return True


def _hashed(blocks: Iterator[bytes], digest: "hashlib._Hash") -> Iterator[bytes]:
    for block in blocks:
        digest.update(block)
        yield block
