"""What was cancelled before anybody ran it is found without a look through all that waits.

Revision ID: 0012
Revises: 0011
"""

from collections.abc import Sequence

import sqlalchemy as sa

from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_index(
        "ix_job_cancelled",
        "job",
        ["id"],
        postgresql_where=sa.text("owner IS NULL AND cancel_requested AND state IN ('ok', 'error')"),
    )


def downgrade() -> None:
    op.drop_index("ix_job_cancelled", table_name="job")
