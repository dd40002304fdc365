"""Whose turn it is to have a job begun.

Revision ID: 0008
Revises: 0007
"""

from collections.abc import Sequence

import sqlalchemy as sa

from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "submitter",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("last_turn_on", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_submitter"),
    )
    op.create_index(
        "ix_job_waiting",
        "job",
        ["submitter", "id"],
        postgresql_where=sa.text("owner IS NULL AND (state NOT IN ('ok', 'error') OR cancel_requested)"),
    )
    op.create_index(
        "ix_job_begun",
        "job",
        ["submitter"],
        postgresql_where=sa.text("owner IS NOT NULL AND state NOT IN ('ok', 'error')"),
    )


def downgrade() -> None:
    op.drop_index("ix_job_begun", table_name="job")
    op.drop_index("ix_job_waiting", table_name="job")
    op.drop_table("submitter")
