"""Files of jobs that run elsewhere, for whoever runs them; no visitor's token opens these routes.

With a job's credential and curl, its input comes and its outputs go by

    curl -fsS -H "Authorization: Bearer $CREDENTIAL" $URL/input | tar -xf -
    tar -cf - . | curl -fsS -H "Authorization: Bearer $CREDENTIAL" -T - $URL/output

where URL is that of the job, ``/api/transfer/{job id}``.
"""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.http.small_bodies import SmallBodyRoute
from api.services import ServicesDep
from api.transfers.claims import Claim, Claimed, Released, claimed, released
from api.transfers.granted import Granted, bearer
from api.transfers.receiving import Received, progress_of, receive
from api.transfers.sending import input_of

router = APIRouter(prefix="/api/transfer", include_in_schema=False, route_class=SmallBodyRoute)


@router.post("/claim")
async def claim_job(claim: Claim, request: Request, services: ServicesDep, response: Response) -> Claimed:
    """Give a job to a pilot, which gets the credential for its files; the key is that of its destination."""
    response.headers["Cache-Control"] = "no-store"
    return await claimed(bearer(request), claim, services)


@router.post("/release")
async def release_job(claim: Claim, request: Request, services: ServicesDep) -> Released:
    """Take a job back from the pilot that has claimed it and cannot begin; others may claim it then."""
    return await released(bearer(request), claim, services)


@router.get("/{jobid}/input", response_class=Response)
async def fetch_job_input(transfer: Granted, request: Request, services: ServicesDep) -> Response:
    """Return the job's input as a tar, of which any range can be asked for."""
    return await input_of(transfer, request, services)


@router.get("/{jobid}/output")
async def look_at_job_output(transfer: Granted, services: ServicesDep) -> Received:
    """Return how far the outputs have come."""
    return await progress_of(transfer, services)


@router.put("/{jobid}/output")
async def bring_job_output(transfer: Granted, request: Request, services: ServicesDep) -> Received:
    """Take the job's outputs as a tar; with a Content-Range it goes on where one was cut off."""
    return await receive(transfer, request, services)
