"""What submitters call their submissions.

Revision ID: 0002
Revises: 0001
"""

from collections.abc import Sequence

import sqlalchemy as sa

from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("job", sa.Column("idempotency_key", sa.Text(), nullable=True))
    op.create_index(
        "ix_job_idempotency_key",
        "job",
        ["submitter", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index(
        "ix_job_idempotency_key", table_name="job", postgresql_where=sa.text("idempotency_key IS NOT NULL")
    )
    op.drop_column("job", "idempotency_key")
