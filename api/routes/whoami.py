"""Whom a token speaks for."""

from fastapi import APIRouter

from api import schemas
from api.auth import CurrentUser
from api.services import ServicesDep

router = APIRouter(tags=["user"])


@router.get("/api/whoami", response_model_exclude_none=True)
async def whoami(user: CurrentUser, services: ServicesDep) -> schemas.User:
    """Return the user name and roles of the token, and its quotas, if it has any."""
    answer = schemas.User.model_validate(user)
    if quota := services.config.quotas.of(user):
        use = await services.store.use(user.username)
        answer.quotas = {
            name: schemas.QuotaDTO(limit=limit, used=getattr(use, name)) for name, limit in quota.limits()
        }
    return answer
