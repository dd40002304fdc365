"""Whom a token speaks for."""

from fastapi import APIRouter

from api import schemas
from api.auth import CurrentUser

router = APIRouter(tags=["user"])


@router.get("/api/whoami")
async def whoami(user: CurrentUser) -> schemas.User:
    """Return the user name and roles of the token."""
    return schemas.User.model_validate(user)
