"""The table of previews; a projection like the others."""

from sqlalchemy import BigInteger, Column, DateTime, Index, Integer, String, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from runyard_orchestrator.store.tables import metadata

previews = Table(
    "previews",
    metadata,
    Column("tenant_id", String(128), primary_key=True),
    Column("id", String(128), primary_key=True),
    Column("status", String(20), nullable=False),
    Column("workspace_id", String(128), nullable=False),
    Column("session_id", String(128)),
    Column("branch", Text),
    Column("command", Text),
    Column("framework", Text),
    Column("requested_by", Text),
    Column("request_hash", Text),
    Column("path", Text),
    Column("found", Text),
    Column("name", Text),
    Column("install", Text),
    Column("build", Text),
    Column("serve", Text),
    Column("commit", String(64)),
    Column("folder", Text, nullable=False, server_default=""),
    Column("generation", Integer, nullable=False),
    Column("method", String(20), nullable=False),
    Column("port", Integer),
    Column("container_name", Text),
    Column("address", Text),
    Column("reason", String(32)),
    Column("message", Text),
    Column("recoveries", Integer, nullable=False),
    Column("shares", JSONB, nullable=False),
    Column("created_at", DateTime(timezone=True)),
    Column("changed_at", DateTime(timezone=True)),
    Column("stream_seq", BigInteger, nullable=False),
    Column("own_seq", BigInteger, nullable=False),
    Index(
        "previews_in_use",
        "stream_seq",
        postgresql_where=text("status in ('requested', 'prepared', 'starting', 'ready')"),
    ),
)
