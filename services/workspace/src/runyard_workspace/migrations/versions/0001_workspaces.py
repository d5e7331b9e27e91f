"""Workspaces, worktrees and checkpoints as rows of the log."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "checkpoints",
        sa.Column("consumer", sa.String(100), primary_key=True),
        sa.Column("stream_seq", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "workspaces",
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("source_type", sa.String(20), nullable=False),
        sa.Column("source_uri", sa.Text, nullable=False),
        sa.Column("storage_mode", sa.String(20), nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("local_path", sa.Text),
        sa.Column("head_commit", sa.String(64)),
        sa.Column("default_branch", sa.Text),
        sa.Column("size_bytes", sa.BigInteger),
        sa.Column("failure_reason", sa.String(40)),
        sa.Column("failure_message", sa.Text),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
    )
    op.create_index("ix_workspaces_tenant_id_created_at", "workspaces", ["tenant_id", "created_at"])
    op.create_table(
        "worktrees",
        sa.Column("session_id", sa.String(128), primary_key=True),
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("workspace_id", sa.String(128), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("path", sa.Text),
        sa.Column("branch", sa.Text),
        sa.Column("base_commit", sa.String(64)),
        sa.Column("failure_reason", sa.String(40)),
        sa.Column("failure_message", sa.Text),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True)),
    )
    op.create_index("ix_worktrees_workspace_id", "worktrees", ["workspace_id"])
    op.create_table(
        "run_checkpoints",
        sa.Column("run_id", sa.String(128), primary_key=True),
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("session_id", sa.String(128), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("commit", sa.String(64)),
        sa.Column("ref", sa.Text),
        sa.Column("parent", sa.String(64)),
        sa.Column("files_changed", sa.Integer),
        sa.Column("insertions", sa.Integer),
        sa.Column("deletions", sa.Integer),
        sa.Column("skipped_files", sa.Integer),
        sa.Column("failure_reason", sa.String(40)),
        sa.Column("failure_message", sa.Text),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stream_seq", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_run_checkpoints_session_id_stream_seq", "run_checkpoints", ["session_id", "stream_seq"])


def downgrade() -> None:
    op.drop_table("run_checkpoints")
    op.drop_table("worktrees")
    op.drop_table("workspaces")
    op.drop_table("checkpoints")
