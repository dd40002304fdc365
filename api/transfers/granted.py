"""Who asks for the files of a job that runs elsewhere, and whether they still may."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Request

from api.services import Services, get_services
from flows.errors import JobNotFound, NotAllowed
from flows.filesystems.http import Filesystem
from flows.jobs.job import Job
from flows.transfers.credentials import CredentialInvalid, Grant
from flows.transfers.offers import GivenToAnother, Offer, TransferOver


@dataclass(frozen=True, slots=True)
class Transfer:
    """A job that somebody has a credential for, and what is offered of it."""

    grant: Grant
    offer: Offer
    config: Filesystem.Config


def bearer(request: Request) -> str:
    """Return the credential or key of the request; it never is in an address. Raises CredentialInvalid."""
    scheme, _, words = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not words.strip():
        raise CredentialInvalid("A credential is needed: send it as Authorization: Bearer.")
    return words.strip()


async def transfer(
    jobid: Annotated[int, Path()], request: Request, services: Annotated[Services, Depends(get_services)]
) -> Transfer:
    """Return what the request's credential opens.

    Raises CredentialInvalid, NotAllowed, GivenToAnother, TransferOver or Unavailable.
    """
    grant = services.transfer_key.grant(bearer(request))
    if grant.job_id != jobid:
        raise NotAllowed("This credential is that of another job.")
    return await current(grant, services)


async def current(grant: Grant, services: Services) -> Transfer:
    """Return what the grant opens now; raise as ``transfer`` does."""
    try:
        job = await services.store.get(grant.job_id)
    except JobNotFound as error:
        raise TransferOver("There is no such job any more.") from error
    if str(job.token) != grant.token:
        raise CredentialInvalid("This credential was not made for this job; claim the job again.")
    check_under_way(job)
    if job.destination != grant.destination:
        raise GivenToAnother("The job was given to another destination; stop working on it.")
    offer = Offer(services.place.job_dir(job.id), grant.token)
    await services.on_disk(offer.check_turn, grant.turn)
    return Transfer(grant, offer, config_of(grant.destination, services))


def check_under_way(job: Job) -> None:
    """Raise TransferOver after the job's end."""
    if job.state.is_final or job.deleted_on is not None:
        raise TransferOver("The job has ended; nothing is fetched or taken for it any more.")


def config_of(destination: str, services: Services) -> Filesystem.Config:
    """Return what a destination is configured to offer. Raises NotAllowed."""
    found = services.config.destinations.get(destination)
    if found is None or not isinstance(found.filesystem.config, Filesystem.Config):
        raise NotAllowed("Files of this destination's jobs are not fetched here: its filesystem is not http.")
    return found.filesystem.config


Granted = Annotated[Transfer, Depends(transfer)]
