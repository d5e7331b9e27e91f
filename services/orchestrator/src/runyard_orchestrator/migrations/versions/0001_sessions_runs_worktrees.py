"""Sessions, runs and worktrees as the log tells them."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _time(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True))


def upgrade() -> None:
    op.create_table(
        "checkpoints",
        sa.Column("consumer", sa.String(100), primary_key=True),
        sa.Column("stream_seq", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "sessions",
        sa.Column("tenant_id", sa.String(128), primary_key=True),
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("workspace_id", sa.String(128), nullable=False),
        sa.Column("runner_type", sa.String(64), nullable=False),
        sa.Column("runner_thread_id", sa.String(128), nullable=False),
        sa.Column("approval_policy", sa.String(32), nullable=False),
        sa.Column("model", sa.Text),
        sa.Column("title", sa.Text),
        sa.Column("working_directory", sa.Text),
        sa.Column("branch", sa.Text),
        sa.Column("base_commit", sa.String(64)),
        sa.Column("failure", sa.Text),
        sa.Column("queue", JSONB, nullable=False),
        sa.Column("active_run_id", sa.String(128)),
        sa.Column("created_by", sa.Text),
        sa.Column("request_hash", sa.Text),
        _time("created_at"),
        _time("deleted_at"),
        sa.Column("stream_seq", sa.BigInteger, nullable=False),
        sa.Column("own_seq", sa.BigInteger, nullable=False),
    )
    op.create_index("sessions_by_age", "sessions", ["tenant_id", "created_at"])
    op.create_index("sessions_creating", "sessions", ["created_at"], postgresql_where=sa.text("status = 'creating'"))
    op.create_table(
        "runs",
        sa.Column("tenant_id", sa.String(128), primary_key=True),
        sa.Column("session_id", sa.String(128), primary_key=True),
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("workspace_id", sa.String(128), nullable=False),
        sa.Column("runner_type", sa.String(64), nullable=False),
        sa.Column("approval_policy", sa.String(32), nullable=False),
        sa.Column("model", sa.Text),
        sa.Column("time_limit_seconds", sa.Integer, nullable=False),
        sa.Column("requested_by", sa.Text),
        sa.Column("request_hash", sa.Text),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("runner_run_id", sa.Text),
        sa.Column("native_thread_id", sa.Text),
        sa.Column("error_reason", sa.String(32)),
        sa.Column("approvals", JSONB, nullable=False),
        sa.Column("handled", JSONB, nullable=False),
        _time("created_at"),
        _time("dispatched_at"),
        _time("started_at"),
        _time("cancel_requested_at"),
        _time("waiting_since"),
        sa.Column("paused_seconds", sa.Double, nullable=False),
        _time("completed_at"),
        sa.Column("first_seq", sa.BigInteger, nullable=False),
        sa.Column("stream_seq", sa.BigInteger, nullable=False),
        sa.Column("own_seq", sa.BigInteger, nullable=False),
    )
    op.create_index("runs_in_order", "runs", ["tenant_id", "session_id", "first_seq"])
    op.create_index("runs_open", "runs", ["tenant_id", "session_id"], postgresql_where=sa.text("completed_at is null"))
    op.create_index(
        "runs_at_work",
        "runs",
        ["stream_seq"],
        postgresql_where=sa.text("completed_at is null and dispatched_at is not null"),
    )
    op.create_table(
        "worktrees",
        sa.Column("tenant_id", sa.String(128), primary_key=True),
        sa.Column("session_id", sa.String(128), primary_key=True),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("branch", sa.Text, nullable=False),
        sa.Column("base_commit", sa.String(64), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("stream_seq", sa.BigInteger, nullable=False),
    )
    op.create_index(
        "worktrees_open",
        "worktrees",
        ["tenant_id", "session_id"],
        postgresql_where=sa.text("status = 'opened'"),
    )


def downgrade() -> None:
    op.drop_table("worktrees")
    op.drop_table("runs")
    op.drop_table("sessions")
    op.drop_table("checkpoints")
