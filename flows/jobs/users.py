"""Who submits jobs."""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class User:
    """The visitor a token speaks for."""

    username: str
    roles: Collection[str] = ()

    def may_submit(self, allowed_roles: Collection[str]) -> bool:
        """Whether one of their roles is allowed; without allowed roles everybody may."""
        return not allowed_roles or not set(allowed_roles).isdisjoint(self.roles)
