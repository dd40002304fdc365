"""Which flow runs Prefect has: workers begin jobs before they tell of them.

Revision ID: 0007
Revises: 0006
"""

from collections.abc import Sequence

import sqlalchemy as sa

from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("job", sa.Column("recorded", sa.Boolean(), nullable=False, server_default=sa.false()))
    # Until now they were made by Prefect.
    op.execute("UPDATE job SET recorded = true WHERE flow_run_id IS NOT NULL")


def downgrade() -> None:
    # The former version asks Prefect for the runs that it does not find.
    op.execute("UPDATE job SET flow_run_id = NULL, owner = NULL WHERE NOT recorded")
    op.drop_column("job", "recorded")
