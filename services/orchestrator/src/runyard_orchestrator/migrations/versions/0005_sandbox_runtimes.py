"""By which runtime a session's container was made."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sandboxes", sa.Column("runtime", sa.Text))


def downgrade() -> None:
    op.drop_column("sandboxes", "runtime")
