"""Which jobs may be given another destination, and where they left files.

Revision ID: 0010
Revises: 0009
"""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    # Of none that is under way can be told that its command was not handed over.
    op.add_column("job", sa.Column("may_move", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("job", sa.Column("left_behind", pg.ARRAY(sa.Text()), nullable=False, server_default="{}"))
    op.create_index("ix_job_left_behind", "job", ["id"], postgresql_where=sa.text("left_behind <> '{}'"))


def downgrade() -> None:
    op.drop_index("ix_job_left_behind", table_name="job")
    op.drop_column("job", "left_behind")
    op.drop_column("job", "may_move")
