"""Where below its files a preview's image or compose file is."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("previews", sa.Column("folder", sa.Text, nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("previews", "folder")
