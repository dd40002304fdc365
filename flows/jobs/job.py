"""Jobs: their states, the transitions allowed between them, and the table that holds them."""

import enum
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg


class State(enum.StrEnum):
    """Exactly the states that clients know; more detail goes into ``reason``."""

    NEW = "new"
    QUEUED = "queued"
    RUNNING = "running"
    STAGING_OUT = "staging_out"
    OK = "ok"
    ERROR = "error"

    @property
    def is_final(self) -> bool:
        """Whether the job has ended; only ``OwnedJobs.run_again`` ever changes that again."""
        return self in (State.OK, State.ERROR)


TRANSITIONS: dict[State, frozenset[State]] = {
    State.NEW: frozenset({State.QUEUED, State.RUNNING, State.STAGING_OUT, State.ERROR}),
    State.QUEUED: frozenset({State.RUNNING, State.STAGING_OUT, State.ERROR}),
    # Back to queued: a cluster may requeue a job that it preempted.
    State.RUNNING: frozenset({State.QUEUED, State.STAGING_OUT, State.ERROR}),
    State.STAGING_OUT: frozenset({State.OK, State.ERROR}),
    State.OK: frozenset(),
    State.ERROR: frozenset(),
}

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
    }
)

job_table = sa.Table(
    "job",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("application", sa.Text, nullable=False),
    sa.Column("submitter", sa.Text, nullable=False),
    sa.Column("roles", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("reason_kind", sa.Text),
    sa.Column("command", sa.Text, nullable=False),
    sa.Column("token", sa.Uuid, nullable=False, unique=True),
    sa.Column("flow_run_id", sa.Uuid, unique=True),
    sa.Column("recorded", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("owner", sa.BigInteger),
    sa.Column("destination", sa.Text),
    sa.Column("may_move", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("left_behind", pg.ARRAY(sa.Text), nullable=False, server_default="{}"),
    sa.Column("scheduler_id", sa.Text),
    sa.Column("idempotency_key", sa.Text),
    sa.Column("cancel_requested", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("deleted_on", sa.DateTime(timezone=True)),
    sa.Column("ended_on", sa.DateTime(timezone=True)),
    sa.Column("expires_on", sa.DateTime(timezone=True)),
    sa.Column("pinned", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("bytes", sa.BigInteger),
    sa.Column("created_on", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("updated_on", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.CheckConstraint(sa.column("state").in_([s.value for s in State]), name="state_is_known"),
    sa.Index(None, "submitter", "id"),
    sa.Index(
        "ix_job_idempotency_key",
        "submitter",
        "idempotency_key",
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    ),
    # The few jobs that somebody still has to do something for, among the many that have ended.
    sa.Index(
        "ix_job_unsettled",
        "id",
        postgresql_where=sa.text("state NOT IN ('ok', 'error') OR cancel_requested"),
    ),
    # Whose job is begun next is looked for in these.
    sa.Index(
        "ix_job_waiting",
        "submitter",
        "id",
        postgresql_where=sa.text("owner IS NULL AND (state NOT IN ('ok', 'error') OR cancel_requested)"),
    ),
    # Hardly ever any: what was cancelled before anybody ran it, and Prefect has to hear of.
    sa.Index(
        "ix_job_cancelled",
        "id",
        postgresql_where=sa.text("owner IS NULL AND cancel_requested AND state IN ('ok', 'error')"),
    ),
    sa.Index(
        "ix_job_begun",
        "submitter",
        postgresql_where=sa.text("owner IS NOT NULL AND state NOT IN ('ok', 'error')"),
    ),
    sa.Index("ix_job_owner", "owner", postgresql_where=sa.text("owner IS NOT NULL")),
    # What the jobs of a submitter keep is added up from this alone.
    sa.Index(
        "ix_job_bytes",
        "submitter",
        postgresql_include=["bytes"],
        postgresql_where=sa.text("deleted_on IS NULL AND bytes IS NOT NULL"),
    ),
    sa.Index("ix_job_left_behind", "id", postgresql_where=sa.text("left_behind <> '{}'")),
    sa.Index("ix_job_pinned", "submitter", postgresql_where=sa.text("pinned")),
    sa.Index("ix_job_deleted", "deleted_on", postgresql_where=sa.text("deleted_on IS NOT NULL")),
)


# Which database this is: its uploads and results are found by it, in the data directory.
installation_table = sa.Table(
    "installation",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.func.gen_random_uuid()),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One row. ``token`` names the job's upload and its submission everywhere outside the database.

    ``recorded``: whether Prefect has the flow run.
    ``owner`` is the number of the worker process that runs the job, and has to tell Prefect how it ended.
    ``idempotency_key`` is what its submitter called the submission, to send it again without making another.
    ``cancel_requested`` until a worker has seen to it that nothing of the job goes on. From ``deleted_on`` on
    there is no such job for its submitter. ``expires_on`` is announced by the flow that removes jobs then.
    ``may_move``: the job may be given another destination, as its command certainly was not handed over yet.
    ``left_behind`` are destinations from before, which may have its files.
    ``bytes`` are those of the archive, and from the job's end on of its directory; None: nobody has counted.
    """

    id: int
    name: str
    application: str
    submitter: str
    roles: Sequence[str]
    state: State
    reason: str | None
    reason_kind: str | None
    command: str
    token: uuid.UUID
    flow_run_id: uuid.UUID | None
    recorded: bool
    owner: int | None
    destination: str | None
    may_move: bool
    left_behind: Sequence[str]
    scheduler_id: str | None
    idempotency_key: str | None
    cancel_requested: bool
    deleted_on: datetime | None
    ended_on: datetime | None
    expires_on: datetime | None
    pinned: bool
    bytes: int | None
    created_on: datetime
    updated_on: datetime


class Order(enum.StrEnum):
    """How a list of jobs is sorted; ``-`` is descending."""

    CREATED = "created_on"
    CREATED_LAST_FIRST = "-created_on"
    UPDATED = "updated_on"
    UPDATED_LAST_FIRST = "-updated_on"
    NAME = "name"
    NAME_LAST_FIRST = "-name"


@dataclass(frozen=True, kw_only=True, slots=True)
class JobFilter:
    """Which jobs are asked for; what is not given lets all pass. ``name`` is a part of it, in any case."""

    states: Collection[State] = ()
    application: str | None = None
    name: str | None = None
