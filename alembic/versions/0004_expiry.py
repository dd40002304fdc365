"""When jobs ended and expire, and which are kept.

Revision ID: 0004
Revises: 0003
"""

from collections.abc import Sequence

import sqlalchemy as sa

from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("job", sa.Column("ended_on", sa.DateTime(timezone=True), nullable=True))
    op.add_column("job", sa.Column("expires_on", sa.DateTime(timezone=True), nullable=True))
    op.add_column("job", sa.Column("pinned", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index("ix_job_pinned", "job", ["submitter"], postgresql_where=sa.text("pinned"))
    op.execute("UPDATE job SET ended_on = updated_on WHERE state IN ('ok', 'error')")
    op.create_table(
        "installation",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_installation")),
    )
    op.execute("INSERT INTO installation DEFAULT VALUES")


def downgrade() -> None:
    op.drop_table("installation")
    op.drop_index("ix_job_pinned", table_name="job", postgresql_where=sa.text("pinned"))
    op.drop_column("job", "pinned")
    op.drop_column("job", "expires_on")
    op.drop_column("job", "ended_on")
