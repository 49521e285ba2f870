"""Audits that failed, apart from those that nobody has graded."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column: False for what is there, and for what an earlier version still adds."""
    op.add_column(
        "outcomes",
        sa.Column("audit_failed", sa.Boolean(), nullable=False, server_default=sa.false()),
    )


def downgrade() -> None:
    """Drop the column, with what it says."""
    op.drop_column("outcomes", "audit_failed")
