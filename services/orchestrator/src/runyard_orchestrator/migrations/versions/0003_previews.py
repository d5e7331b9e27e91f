"""Previews."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "previews",
        sa.Column("tenant_id", sa.String(128), primary_key=True),
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("workspace_id", sa.String(128), nullable=False),
        sa.Column("session_id", sa.String(128)),
        sa.Column("branch", sa.Text),
        sa.Column("command", sa.Text),
        sa.Column("framework", sa.Text),
        sa.Column("requested_by", sa.Text),
        sa.Column("request_hash", sa.Text),
        sa.Column("path", sa.Text),
        sa.Column("found", sa.Text),
        sa.Column("name", sa.Text),
        sa.Column("install", sa.Text),
        sa.Column("build", sa.Text),
        sa.Column("serve", sa.Text),
        sa.Column("commit", sa.String(64)),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("method", sa.String(20), nullable=False),
        sa.Column("port", sa.Integer),
        sa.Column("container_name", sa.Text),
        sa.Column("address", sa.Text),
        sa.Column("reason", sa.String(32)),
        sa.Column("message", sa.Text),
        sa.Column("recoveries", sa.Integer, nullable=False),
        sa.Column("shares", JSONB, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True)),
        sa.Column("changed_at", sa.DateTime(timezone=True)),
        sa.Column("stream_seq", sa.BigInteger, nullable=False),
        sa.Column("own_seq", sa.BigInteger, nullable=False),
    )
    op.create_index(
        "previews_in_use",
        "previews",
        ["stream_seq"],
        postgresql_where=sa.text("status in ('requested', 'prepared', 'starting', 'ready')"),
    )


def downgrade() -> None:
    op.drop_table("previews")
