"""The first version: outcomes and feedback."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_NAME = sa.String(255)
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "outcomes",
        sa.Column("request_id", _NAME, nullable=False),
        sa.Column("time", _TIME, nullable=False),
        sa.Column("user", _NAME, nullable=False),
        sa.Column("tenant", _NAME, nullable=False),
        sa.Column("use_case", _NAME, nullable=False),
        sa.Column("model", _NAME, nullable=False),
        sa.Column("model_fingerprint", _NAME, nullable=False),
        sa.Column("template", _NAME, nullable=False),
        sa.Column("certificate", _NAME, nullable=False),
        sa.Column("risk", sa.Double()),
        sa.Column("mode", _NAME, nullable=False),
        sa.Column("arm", _NAME, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("would_stop_tokens", sa.BigInteger()),
        sa.Column("audit_share", sa.Double(), nullable=False),
        sa.Column("loss", sa.Double()),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("finish_reason", sa.Text()),
        sa.Column("uncertified", sa.Text(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("generated", sa.BigInteger(), nullable=False),
        sa.Column("reread", sa.BigInteger(), nullable=False),
        sa.Column("retried", sa.BigInteger(), nullable=False),
        sa.Column("discarded", sa.BigInteger(), nullable=False),
        sa.Column("avoided", sa.BigInteger(), nullable=False),
        sa.Column("unseen", sa.BigInteger(), nullable=False),
        sa.Column("probed", sa.BigInteger(), nullable=False),
        sa.Column("estimated", sa.Boolean(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("cost", sa.Double()),
        sa.Column("features", sa.JSON(), nullable=False),
        sa.Column("prompt", sa.Text()),
        sa.Column("text", sa.Text()),
        sa.PrimaryKeyConstraint("request_id", name="pk_outcomes"),
    )
    for columns in (["time"], ["tenant", "time"], ["user", "time"], ["use_case", "time"]):
        op.create_index(f"ix_outcomes_{'_'.join(columns)}", "outcomes", columns)
    op.create_index("ix_outcomes_model_time", "outcomes", ["model", "time"])
    op.create_table(
        "feedback",
        sa.Column("feedback_id", _NAME, nullable=False),
        sa.Column("request_id", _NAME, nullable=False),
        sa.Column("kind", _NAME, nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("time", _TIME, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("feedback_id", name="pk_feedback"),
    )
    op.create_index("ix_feedback_request_id", "feedback", ["request_id"])
    op.create_index("ix_feedback_time", "feedback", ["time"])


def downgrade() -> None:
    """Drop both tables, with all that they hold."""
    op.drop_table("feedback")
    op.drop_table("outcomes")
