"""Containers of sessions, the rules of a team for them, and where each run was worked on."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "container_environments",
        sa.Column("id", sa.String(length=128), nullable=False),
        sa.Column("tenant_id", sa.String(length=128), nullable=False),
        sa.Column("container_type", sa.String(length=20), nullable=False),
        sa.Column("container_name", sa.Text(), nullable=True),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("port", sa.Integer(), nullable=True),
        sa.Column("session_id", sa.String(length=128), nullable=True),
        sa.Column("workspace_id", sa.String(length=128), nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("method", sa.String(length=20), nullable=False),
        sa.Column("image", sa.Text(), nullable=True),
        sa.Column("native_id", sa.Text(), nullable=True),
        sa.Column("warm", sa.Boolean(), nullable=False),
        sa.Column("took_ms", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(length=50), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("log_tail", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("containers_by_status", "container_environments", ["tenant_id", "status"], unique=False)
    op.create_index("containers_by_tenant", "container_environments", ["tenant_id", "first_seq"], unique=False)
    op.create_table(
        "sandbox_rules",
        sa.Column("tenant_id", sa.String(length=128), nullable=False),
        sa.Column("rules", sa.JSON(), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id"),
    )
    op.add_column("runs", sa.Column("method", sa.String(length=20), nullable=True))
    op.add_column("runs", sa.Column("method_reason", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("runs", "method_reason")
    op.drop_column("runs", "method")
    op.drop_table("sandbox_rules")
    op.drop_index("containers_by_tenant", table_name="container_environments")
    op.drop_index("containers_by_status", table_name="container_environments")
    op.drop_table("container_environments")
