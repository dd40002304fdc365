"""Jobs.

Revision ID: 0001
Revises:
"""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "job",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("application", sa.Text(), nullable=False),
        sa.Column("submitter", sa.Text(), nullable=False),
        sa.Column("roles", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("reason_kind", sa.Text(), nullable=True),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("token", sa.Uuid(), nullable=False),
        sa.Column("flow_run_id", sa.Uuid(), nullable=True),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("destination", sa.Text(), nullable=True),
        sa.Column("scheduler_id", sa.Text(), nullable=True),
        sa.Column("created_on", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_on", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "state IN ('new', 'queued', 'running', 'staging_out', 'ok', 'error')",
            name=op.f("ck_job_state_is_known"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
        sa.UniqueConstraint("flow_run_id", name=op.f("uq_job_flow_run_id")),
        sa.UniqueConstraint("token", name=op.f("uq_job_token")),
    )
    op.create_index(
        "ix_job_active", "job", ["id"], unique=False, postgresql_where=sa.text("state NOT IN ('ok', 'error')")
    )
    op.create_index(op.f("ix_job_submitter_id"), "job", ["submitter", "id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_job_submitter_id"), table_name="job")
    op.drop_index("ix_job_active", table_name="job", postgresql_where=sa.text("state NOT IN ('ok', 'error')"))
    op.drop_table("job")
