"""What quotas count: the bytes that a job keeps, and how often its submitter submits.

Revision ID: 0009
Revises: 0008
"""

from collections.abc import Sequence

import sqlalchemy as sa

from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("job", sa.Column("bytes", sa.BigInteger(), nullable=True))
    op.create_index(
        "ix_job_bytes",
        "job",
        ["submitter"],
        postgresql_include=["bytes"],
        postgresql_where=sa.text("deleted_on IS NULL AND bytes IS NOT NULL"),
    )
    op.add_column("submitter", sa.Column("hour_began_on", sa.DateTime(timezone=True), nullable=True))
    op.add_column("submitter", sa.Column("submissions", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("submitter", "submissions")
    op.drop_column("submitter", "hour_began_on")
    op.drop_index("ix_job_bytes", table_name="job")
    op.drop_column("job", "bytes")
