"""What workspaces and sessions have to do with remotes: fetches, pushes, pull requests, credentials."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

WORKSPACES = (
    ("fetched_at", sa.DateTime(timezone=True)),
    ("sync_failure_reason", sa.String(40)),
    ("sync_failure_message", sa.Text()),
)
WORKTREES = (
    ("head_commit", sa.String(64)),
    ("commits_refused", sa.String(40)),
    ("pushed_branch", sa.Text()),
    ("pushed_commit", sa.String(64)),
    ("pushed_at", sa.DateTime(timezone=True)),
    ("push_failure_reason", sa.String(40)),
    ("push_failure_message", sa.Text()),
    ("push_failure_files", sa.ARRAY(sa.Text())),
    ("pull_request_number", sa.Integer()),
    ("pull_request_url", sa.Text()),
)


def upgrade() -> None:
    for table, columns in (("workspaces", WORKSPACES), ("worktrees", WORKTREES)):
        for name, kind in columns:
            op.add_column(table, sa.Column(name, kind))
    op.create_table(
        "credentials",
        sa.Column("tenant_id", sa.String(128), primary_key=True),
        sa.Column("credential_id", sa.String(128), primary_key=True),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("username", sa.Text, nullable=False),
        sa.Column("set_by", sa.Text),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True)),
    )


def downgrade() -> None:
    op.drop_table("credentials")
    for table, columns in (("worktrees", WORKTREES), ("workspaces", WORKSPACES)):
        for name, _ in reversed(columns):
            op.drop_column(table, name)
