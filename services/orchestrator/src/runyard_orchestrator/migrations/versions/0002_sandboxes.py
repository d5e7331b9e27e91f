"""Sandboxes, what teams have decided about them, and all containers as one list."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _time(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True))


def upgrade() -> None:
    op.add_column("runs", sa.Column("method", sa.String(20), nullable=False, server_default="process"))
    op.alter_column("runs", "method", server_default=None)
    op.create_table(
        "sandboxes",
        sa.Column("tenant_id", sa.String(128), primary_key=True),
        sa.Column("session_id", sa.String(128), primary_key=True),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("method", sa.String(20), nullable=False),
        sa.Column("purpose", sa.String(20)),
        sa.Column("name", sa.Text),
        sa.Column("image", sa.Text),
        sa.Column("native_id", sa.Text),
        sa.Column("reason", sa.String(32)),
        sa.Column("message", sa.Text),
        sa.Column("exit_code", sa.Integer),
        sa.Column("failed_at", sa.ARRAY(sa.DateTime(timezone=True)), nullable=False),
        _time("created_at"),
        _time("requested_at"),
        _time("epoch_at"),
        _time("changed_at"),
        sa.Column("forgotten_seq", sa.BigInteger, nullable=False),
        sa.Column("stream_seq", sa.BigInteger, nullable=False),
        sa.Column("own_seq", sa.BigInteger, nullable=False),
    )
    op.create_index(
        "sandboxes_in_use",
        "sandboxes",
        ["stream_seq"],
        postgresql_where=sa.text("status in ('requested', 'creating', 'running', 'paused')"),
    )
    op.create_table(
        "team_rules",
        sa.Column("tenant_id", sa.String(128), primary_key=True),
        sa.Column("rules", JSONB, nullable=False),
        sa.Column("changed_by", sa.Text),
        _time("changed_at"),
        sa.Column("stream_seq", sa.BigInteger, nullable=False),
        sa.Column("own_seq", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "container_environments",
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("team_id", sa.String(128), primary_key=True),
        sa.Column("container_type", sa.String(20), nullable=False),
        sa.Column("container_name", sa.Text),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("port", sa.Integer),
        _time("created_at"),
        _time("updated_at"),
        sa.Column("metadata", JSONB, nullable=False),
    )
    op.create_index("container_environments_by_team", "container_environments", ["team_id", "status"])
    op.create_index("container_environments_by_status", "container_environments", ["status"])


def downgrade() -> None:
    op.drop_table("container_environments")
    op.drop_table("team_rules")
    op.drop_table("sandboxes")
    op.drop_column("runs", "method")
