"""Whether this process can serve."""

import asyncio

import sqlalchemy as sa
from fastapi import APIRouter

from api.schemas import Problem
from api.services import ServicesDep
from flows.database.errors import unavailable_when_away

router = APIRouter(tags=["health"])

_SECONDS = 2.0
_QUESTION = sa.select(1)


@router.get("/api/health", responses={503: {"model": Problem, "description": "The database does not answer"}})
async def health_check(services: ServicesDep) -> None:
    """Answer 200 when the database answers."""
    with unavailable_when_away():
        async with asyncio.timeout(_SECONDS):
            await services.store.pool.fetch(_QUESTION)
