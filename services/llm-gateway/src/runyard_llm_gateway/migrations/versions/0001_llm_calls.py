"""The usage projection and its checkpoint."""

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
        sa.Column("stream_seq", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "llm_calls",
        sa.Column("event_id", sa.String(36), primary_key=True),
        sa.Column("stream_seq", sa.BigInteger(), nullable=False, unique=True),
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("session_id", sa.String(128), nullable=False),
        sa.Column("run_id", sa.String(128), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("call_id", sa.String(36), nullable=False),
        sa.Column("api", sa.String(32), nullable=False),
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("http_status", sa.Integer()),
        sa.Column("error", sa.Text()),
        sa.Column("streamed", sa.Boolean(), nullable=False),
        sa.Column("scripted", sa.Boolean(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger()),
        sa.Column("output_tokens", sa.BigInteger()),
        sa.Column("cached_input_tokens", sa.BigInteger()),
        sa.Column("cache_write_tokens", sa.BigInteger()),
        sa.Column("reasoning_tokens", sa.BigInteger()),
        sa.Column("cost_usd", sa.Numeric(18, 9)),
        sa.Column("priced", sa.Boolean(), nullable=False),
        sa.Column("latency_ms", sa.Float(), nullable=False),
        sa.Column("first_token_ms", sa.Float()),
    )
    op.create_index("ix_llm_calls_tenant_seq", "llm_calls", ["tenant_id", "stream_seq"])
    op.create_index("ix_llm_calls_tenant_run", "llm_calls", ["tenant_id", "run_id"])
    op.create_index("ix_llm_calls_tenant_session", "llm_calls", ["tenant_id", "session_id"])


def downgrade() -> None:
    op.drop_table("llm_calls")
    op.drop_table("checkpoints")
