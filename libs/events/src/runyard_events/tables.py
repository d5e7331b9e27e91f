"""The bookkeeping tables that every service with projections or side effects has in its own schema."""

from sqlalchemy import BigInteger, Column, DateTime, MetaData, String, Table, func


def checkpoint_table(metadata: MetaData) -> Table:
    """How far each projection has come: (consumer, stream_seq)."""
    return Table(
        "checkpoints",
        metadata,
        Column("consumer", String(100), primary_key=True),
        Column("stream_seq", BigInteger, nullable=False),
    )


def inbox_table(metadata: MetaData) -> Table:
    """Which events have had their side effect: (consumer, event_id)."""
    return Table(
        "inbox",
        metadata,
        Column("consumer", String(100), primary_key=True),
        Column("event_id", String(36), primary_key=True),
        Column("done_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )
