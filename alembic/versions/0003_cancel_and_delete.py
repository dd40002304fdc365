"""What visitors cancel and delete.

Revision ID: 0003
Revises: 0002
"""

from collections.abc import Sequence

import sqlalchemy as sa

from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column(
        "job", sa.Column("cancel_requested", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("job", sa.Column("deleted_on", sa.DateTime(timezone=True), nullable=True))
    op.drop_index("ix_job_active", table_name="job")
    op.create_index(
        "ix_job_unsettled",
        "job",
        ["id"],
        postgresql_where=sa.text("state NOT IN ('ok', 'error') OR cancel_requested"),
    )
    op.create_index(
        "ix_job_deleted", "job", ["deleted_on"], postgresql_where=sa.text("deleted_on IS NOT NULL")
    )


def downgrade() -> None:
    op.drop_index("ix_job_deleted", table_name="job")
    op.drop_index("ix_job_unsettled", table_name="job")
    op.create_index("ix_job_active", "job", ["id"], postgresql_where=sa.text("state NOT IN ('ok', 'error')"))
    op.drop_column("job", "deleted_on")
    op.drop_column("job", "cancel_requested")
