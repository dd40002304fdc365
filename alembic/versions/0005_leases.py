"""Workers with leases, and jobs that are owned by one of them.

Revision ID: 0005
Revises: 0004
"""

from collections.abc import Sequence

import sqlalchemy as sa

from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "worker",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_worker"),
    )
    op.create_index("ix_worker_name", "worker", ["name"])
    op.add_column("job", sa.Column("owner", sa.BigInteger(), nullable=True))
    # A worker of the older version that runs still has no lease: a newer one of its name takes its jobs.
    op.execute(
        "INSERT INTO worker (name, host, lease_until) "
        "SELECT DISTINCT worker, '', now() FROM job WHERE worker IS NOT NULL"
    )
    op.execute("UPDATE job SET owner = worker.id FROM worker WHERE worker.name = job.worker")
    op.create_index("ix_job_owner", "job", ["owner"], postgresql_where=sa.text("owner IS NOT NULL"))
    op.drop_column("job", "worker")


def downgrade() -> None:
    op.add_column("job", sa.Column("worker", sa.Text(), nullable=True))
    op.execute("UPDATE job SET worker = worker.name FROM worker WHERE worker.id = job.owner")
    op.drop_index("ix_job_owner", table_name="job")
    op.drop_column("job", "owner")
    op.drop_table("worker")
