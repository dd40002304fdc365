"""The quotas of the configuration file: how much of everything each visitor may have."""

import math
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from flows.jobs.quotas import Quota
from flows.jobs.shares import NO_LIMIT, RunningLimits
from flows.jobs.users import User

_UNLIMITED = "unlimited"
Jobs = Annotated[int, Field(ge=1, lt=NO_LIMIT)] | Literal["unlimited"]
Bytes = Annotated[int, Field(ge=1, lt=2**62)] | Literal["unlimited"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(_Model):
    """What is not given here is said elsewhere, or without a limit."""

    running: Jobs | None = None
    queued: Jobs | None = None
    bytes: Bytes | None = None
    submissions_per_hour: Jobs | None = None


_NONE = Limits()


class Quotas(_Model):
    """Who may have how much.

    Of each limit, what is said of the visitor counts; else the most that one of their roles gives; else what
    is said of each.
    """

    each: Limits = _NONE
    roles: dict[str, Limits] = {}
    submitters: dict[str, Limits] = {}

    def of(self, user: User) -> Quota:
        """Return what a visitor may have."""
        return Quota(
            running=self._of(user, "running"),
            queued=self._of(user, "queued"),
            bytes=self._of(user, "bytes"),
            submissions=self._of(user, "submissions_per_hour"),
        )

    def _of(self, user: User, key: str) -> int | None:
        own = _said(self.submitters, key).get(user.username)
        of_roles = [most for role, most in _said(self.roles, key).items() if role in user.roles]
        for found in (own, max(of_roles, default=None, key=_rank), getattr(self.each, key)):
            if found is not None:
                return found if isinstance(found, int) else None
        return None

    @property
    def running(self) -> RunningLimits | None:
        """How many jobs of each may run, for those who begin them; None where nobody has a limit."""
        own, roles = _said(self.submitters, "running"), _said(self.roles, "running")
        if not own and not roles and self.each.running is None:
            return None
        return RunningLimits(
            own={name: _jobs(most) for name, most in own.items()},
            roles={name: _jobs(most) for name, most in roles.items()},
            each=_jobs(self.each.running or _UNLIMITED),
        )


def _said(limits: Mapping[str, Limits], key: str) -> dict[str, int | str]:
    said = {name: getattr(one, key) for name, one in limits.items()}
    return {name: most for name, most in said.items() if most is not None}


def _rank(most: int | str) -> float:
    return most if isinstance(most, int) else math.inf


def _jobs(most: int | str) -> int:
    return most if isinstance(most, int) else NO_LIMIT
