"""What requests and answers look like. The names are part of the contract with generated clients."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from flows.jobs.job import State


def without_defaults(schema: dict[str, Any]) -> None:
    """Drop the defaults of fields that may be left out: to generated clients they promise the field."""
    for field in schema["properties"].values():
        field.pop("default", None)


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str


class QuotaDTO(BaseModel):
    """How many you may have, and have. What you submit beyond is refused; what would run beyond waits."""

    limit: int
    used: int


class User(BaseModel):
    """Whom the token speaks for."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra=without_defaults)

    username: str
    roles: list[str]
    quotas: dict[str, QuotaDTO] | None = Field(
        default=None,
        description="Of `running` and `queued` jobs, `bytes`, and `submissions` within an hour, if any.",
    )


class InteractiveAppResult(BaseModel):
    """What an interactive application's command left."""

    model_config = ConfigDict(json_schema_extra=without_defaults)

    returncode: int
    stdout: str
    stderr: str
    truncated: bool = Field(
        default=False, description="Only there where the command wrote more than is returned."
    )


class ApplicationDTO(BaseModel):
    """What can be submitted. ``input_schema`` is of the form's fields besides the archive."""

    name: str
    summary: str | None
    description: str | None
    input_schema: dict[str, Any] | None
    upload_needs: list[str]


class DestinationDTO(BaseModel):
    """Where jobs run. ``latency`` in seconds.

    ``reachable`` is null while no worker says anything. ``last_error`` may be of a time that is over.
    """

    name: str
    scheduler: str
    filesystem: str
    reachable: bool | None
    latency: float | None
    checked_on: datetime | None
    jobs: dict[State, int]
    last_error: str | None
    last_error_on: datetime | None


class JobModelDTO(BaseModel):
    """A job. ``reason`` tells why it failed, or why it does not get on.

    It is removed some time after ``expires_on``, unless it is pinned; null: not yet known, or never.
    """

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    application: str
    state: State
    submitter: str
    reason: str | None = None
    reason_kind: str | None = None
    destination: str | None = None
    created_on: datetime
    updated_on: datetime
    expires_on: datetime | None = None
    pinned: bool = False
