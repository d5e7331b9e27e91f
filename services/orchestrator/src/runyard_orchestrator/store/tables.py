"""Tables of the schema `orchestrator`. All are projections: dropped and replayed they come out the same."""

from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    DateTime,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from runyard_events import checkpoint_table

SCHEMA = "orchestrator"
metadata = MetaData()
checkpoints = checkpoint_table(metadata)


def _id(name: str, **options: Any) -> Column[str]:
    return Column(name, String(128), **options)


def _time(name: str) -> Column[Any]:
    return Column(name, DateTime(timezone=True))


sessions = Table(
    "sessions",
    metadata,
    _id("tenant_id", primary_key=True),
    _id("id", primary_key=True),
    Column("status", String(20), nullable=False),
    _id("workspace_id", nullable=False),
    Column("runner_type", String(64), nullable=False),
    _id("runner_thread_id", nullable=False),
    Column("approval_policy", String(32), nullable=False),
    Column("model", Text),
    Column("title", Text),
    Column("working_directory", Text),
    Column("branch", Text),
    Column("base_commit", String(64)),
    Column("failure", Text),
    Column("queue", JSONB, nullable=False),
    _id("active_run_id"),
    Column("created_by", Text),
    Column("request_hash", Text),
    _time("created_at"),
    _time("deleted_at"),
    Column("stream_seq", BigInteger, nullable=False),
    Column("own_seq", BigInteger, nullable=False),
    Index("sessions_by_age", "tenant_id", "created_at"),
    Index("sessions_creating", "created_at", postgresql_where=text("status = 'creating'")),
)

runs = Table(
    "runs",
    metadata,
    _id("tenant_id", primary_key=True),
    _id("session_id", primary_key=True),
    _id("id", primary_key=True),
    Column("prompt", Text, nullable=False),
    Column("status", String(20), nullable=False),
    _id("workspace_id", nullable=False),
    Column("runner_type", String(64), nullable=False),
    Column("method", String(20), nullable=False),
    Column("approval_policy", String(32), nullable=False),
    Column("model", Text),
    Column("time_limit_seconds", Integer, nullable=False),
    Column("requested_by", Text),
    Column("request_hash", Text),
    Column("attempt", Integer, nullable=False),
    Column("runner_run_id", Text),
    Column("native_thread_id", Text),
    Column("error_reason", String(32)),
    Column("approvals", JSONB, nullable=False),
    Column("handled", JSONB, nullable=False),
    _time("created_at"),
    _time("dispatched_at"),
    _time("started_at"),
    _time("cancel_requested_at"),
    _time("waiting_since"),
    Column("paused_seconds", Double, nullable=False),
    _time("completed_at"),
    Column("first_seq", BigInteger, nullable=False),
    Column("stream_seq", BigInteger, nullable=False),
    Column("own_seq", BigInteger, nullable=False),
    Index("runs_in_order", "tenant_id", "session_id", "first_seq"),
    Index("runs_open", "tenant_id", "session_id", postgresql_where=text("completed_at is null")),
    Index(
        "runs_at_work",
        "stream_seq",
        postgresql_where=text("completed_at is null and dispatched_at is not null"),
    ),
)

worktrees = Table(
    "worktrees",
    metadata,
    _id("tenant_id", primary_key=True),
    _id("session_id", primary_key=True),
    Column("status", String(20), nullable=False),
    Column("path", Text, nullable=False),
    Column("branch", Text, nullable=False),
    Column("base_commit", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("stream_seq", BigInteger, nullable=False),
    Index("worktrees_open", "tenant_id", "session_id", postgresql_where=text("status = 'opened'")),
)

sandboxes = Table(
    "sandboxes",
    metadata,
    _id("tenant_id", primary_key=True),
    _id("session_id", primary_key=True),
    Column("status", String(20), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("method", String(20), nullable=False),
    Column("purpose", String(20)),
    Column("name", Text),
    Column("image", Text),
    Column("runtime", Text),
    Column("native_id", Text),
    Column("reason", String(32)),
    Column("message", Text),
    Column("exit_code", Integer),
    Column("failed_at", ARRAY(DateTime(timezone=True)), nullable=False),
    _time("created_at"),
    _time("requested_at"),
    _time("epoch_at"),
    _time("changed_at"),
    Column("forgotten_seq", BigInteger, nullable=False),
    Column("stream_seq", BigInteger, nullable=False),
    Column("own_seq", BigInteger, nullable=False),
    Index(
        "sandboxes_in_use",
        "stream_seq",
        postgresql_where=text("status in ('requested', 'creating', 'running', 'paused')"),
    ),
)

team_rules = Table(
    "team_rules",
    metadata,
    _id("tenant_id", primary_key=True),
    Column("rules", JSONB, nullable=False),
    Column("changed_by", Text),
    _time("changed_at"),
    Column("stream_seq", BigInteger, nullable=False),
    Column("own_seq", BigInteger, nullable=False),
)

container_environments = Table(
    "container_environments",
    metadata,
    _id("id", primary_key=True),
    _id("team_id", primary_key=True),
    Column("container_type", String(20), nullable=False),
    Column("container_name", Text),
    Column("status", String(20), nullable=False),
    Column("port", Integer),
    _time("created_at"),
    _time("updated_at"),
    Column("metadata", JSONB, nullable=False),
    Index("container_environments_by_team", "team_id", "status"),
    Index("container_environments_by_status", "status"),
)
"""Every container as people ask about them: one row for each session's sandbox (`agent`) and each preview."""
