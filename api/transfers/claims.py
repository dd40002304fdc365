"""Pilots that want a job: they show the key of their destination, and get a credential for the job."""

import uuid

from pydantic import BaseModel, Field

from api.services import Services
from api.transfers.granted import check_under_way, config_of
from flows.errors import JobNotFound, NotAllowed
from flows.jobs.job import Job
from flows.transfers.offers import Offer


class Claim(BaseModel):
    """``claimant`` is the name of the pilot, which is another for each; ``turn`` is that of its order."""

    token: uuid.UUID
    claimant: str = Field(min_length=1, max_length=200, pattern=r"^[!-~ ]+$")
    turn: int = Field(default=0, ge=0, le=999_999_999)


class Claimed(BaseModel):
    """``expires`` is in s since 1970; ``turn`` is how often the job was given anew."""

    job_id: int
    credential: str
    expires: int
    turn: int


class Released(BaseModel):
    """``turn`` is that in which the job can be claimed now."""

    turn: int


async def claimed(pilot_key: str, claim: Claim, services: Services) -> Claimed:
    """Give the job to the claimant, and return the credential for it.

    Raises CredentialInvalid, NotAllowed, JobNotFound, TransferOver, GivenToAnother or Unavailable.
    """
    job, offer = await _offer(pilot_key, claim, services)

    def give() -> Claimed:
        offer.claim(claim.claimant, claim.turn)
        credential, expires = offer.credential(services.transfer_key, claim.turn)
        return Claimed(job_id=job.id, credential=credential, expires=expires, turn=claim.turn)

    return await services.on_disk(give)


async def released(pilot_key: str, claim: Claim, services: Services) -> Released:
    """Let others claim the job in the next turn. Raises as ``claimed`` does."""
    _, offer = await _offer(pilot_key, claim, services)

    def release() -> Released:
        offer.release(claim.claimant, claim.turn)
        return Released(turn=offer.turn)

    return await services.on_disk(release)


async def _offer(pilot_key: str, claim: Claim, services: Services) -> tuple[Job, Offer]:
    destination = services.transfer_key.destination_of(pilot_key)
    config_of(destination, services)
    job = await services.store.by_token(claim.token)
    if job is None:
        raise JobNotFound("There is no such job.")
    if job.destination != destination:
        raise NotAllowed("This job is not one of the pilot key's destination.")
    check_under_way(job)
    return job, Offer(services.place.job_dir(job.id), str(job.token))
