"""The tables. Every row carries its tenant and the stream sequence of the event that made it.

There are no foreign keys: a row follows from the log alone, whatever else of the log is still there.
"""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
)

from runyard_events.tables import checkpoint_table

metadata = MetaData()

ID = String(128)


def _moment(name: str, *, nullable: bool = True) -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


checkpoints = checkpoint_table(metadata)

workspaces = Table(
    "workspaces",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant_id", ID, nullable=False),
    Column("source_type", String(20), nullable=False),
    Column("source_uri", Text, nullable=False),
    Column("storage_mode", String(20), nullable=False),
    Column("display_name", Text, nullable=False),
    Column("local_path", Text),
    Column("status", String(20), nullable=False),
    Column("failure_reason", String(50)),
    Column("failure_message", Text),
    Column("requested_by", Text),
    _moment("created_at", nullable=False),
    _moment("last_accessed_at"),
    Column("metadata_json", JSON, nullable=False),
    Column("created_seq", BigInteger, nullable=False),
    Index("workspaces_by_tenant", "tenant_id", "created_seq"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant_id", ID, nullable=False),
    Column("workspace_id", ID, nullable=False),
    Column("runner_type", String(50), nullable=False),
    Column("runner_thread_id", Text, nullable=False),
    Column("working_directory", Text),
    Column("status", String(20), nullable=False),
    Column("title", Text),
    Column("model", Text),
    Column("approval_policy", String(20), nullable=False),
    Column("branch", Text),
    Column("base_commit", Text),
    Column("failure_reason", Text),
    Column("failure_message", Text),
    Column("created_by", Text),
    _moment("created_at", nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    Index("sessions_by_tenant", "tenant_id", "first_seq"),
    Index("sessions_by_workspace", "workspace_id", "first_seq"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant_id", ID, nullable=False),
    Column("session_id", ID, nullable=False),
    Column("workspace_id", ID, nullable=False),
    Column("runner_type", String(50), nullable=False),
    Column("runner_run_id", ID, nullable=False),
    Column("prompt", Text, nullable=False),
    Column("status", String(20), nullable=False),
    Column("model", Text),
    Column("attempt", Integer, nullable=False),
    Column("requested_by", Text),
    Column("cancel_requested", Boolean, nullable=False),
    Column("error_reason", String(50)),
    Column("error_message", Text),
    Column("duration_ms", BigInteger),
    _moment("created_at", nullable=False),
    _moment("started_at"),
    _moment("completed_at"),
    Column("checkpoint_commit", Text),
    Column("files_changed", Integer),
    Column("insertions", Integer),
    Column("deletions", Integer),
    Column("first_seq", BigInteger, nullable=False),
    Column("end_seq", BigInteger),
    Column("method", String(20)),
    Column("method_reason", Text),
    Index("runs_by_tenant", "tenant_id", "first_seq"),
    Index("runs_by_session", "session_id", "first_seq"),
)

approvals = Table(
    "approvals",
    metadata,
    Column("run_id", ID, primary_key=True),
    Column("id", String(128), primary_key=True),
    Column("tenant_id", ID, nullable=False),
    Column("session_id", ID, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("title", Text, nullable=False),
    Column("detail", JSON, nullable=False),
    Column("options", JSON, nullable=False),
    Column("questions", JSON, nullable=False),
    Column("status", String(20), nullable=False),
    Column("decision", String(30)),
    Column("answers", JSON(none_as_null=True)),
    Column("message", Text),
    Column("resolved_by", Text),
    _moment("requested_at", nullable=False),
    _moment("resolved_at"),
    Column("requested_seq", BigInteger, nullable=False),
)

run_usage = Table(
    "run_usage",
    metadata,
    Column("run_id", ID, primary_key=True),
    Column("provider", String(100), primary_key=True),
    Column("model", String(200), primary_key=True),
    Column("tenant_id", ID, nullable=False),
    Column("calls", Integer, nullable=False),
    Column("failed_calls", Integer, nullable=False),
    Column("unpriced_calls", Integer, nullable=False),
    Column("scripted_calls", Integer, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cached_input_tokens", BigInteger, nullable=False),
    Column("cache_write_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("cost_usd", Numeric(18, 9), nullable=False),
)

container_environments = Table(
    "container_environments",
    metadata,
    # The session's id, or the preview's: each has one container at a time.
    Column("id", ID, primary_key=True),
    Column("tenant_id", ID, nullable=False),
    Column("container_type", String(20), nullable=False),
    Column("container_name", Text),
    Column("status", String(20), nullable=False),
    Column("port", Integer),
    Column("session_id", ID),
    Column("workspace_id", ID),
    Column("epoch", Integer, nullable=False),
    Column("method", String(20), nullable=False),
    Column("image", Text),
    Column("native_id", Text),
    Column("warm", Boolean, nullable=False),
    Column("took_ms", BigInteger),
    Column("reason", String(50)),
    Column("message", Text),
    Column("exit_code", Integer),
    Column("log_tail", JSON, nullable=False),
    _moment("created_at", nullable=False),
    _moment("updated_at", nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    Index("containers_by_tenant", "tenant_id", "first_seq"),
    Index("containers_by_status", "tenant_id", "status"),
)

sandbox_rules = Table(
    "sandbox_rules",
    metadata,
    Column("tenant_id", ID, primary_key=True),
    Column("rules", JSON, nullable=False),
    Column("changed_by", Text),
    _moment("changed_at", nullable=False),
    Column("changed_seq", BigInteger, nullable=False),
)

messages = Table(
    "messages",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("tenant_id", ID, nullable=False),
    Column("session_id", ID, nullable=False),
    Column("run_id", ID, nullable=False),
    Column("role", String(20), nullable=False),
    Column("text", Text, nullable=False),
    Column("format", String(20), nullable=False),
    Column("interrupted", Boolean, nullable=False),
    _moment("created_at", nullable=False),
    Index("messages_by_session", "session_id", "id"),
)

run_events = Table(
    "run_events",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("tenant_id", ID, nullable=False),
    Column("session_id", ID, nullable=False),
    Column("run_id", ID, nullable=False),
    Column("seq", BigInteger, nullable=False),
    _moment("at", nullable=False),
    Column("source", Text, nullable=False),
    Column("event_type", Text, nullable=False),
    # `json`, not `jsonb`: it keeps the bytes as they are, escaped NUL characters included.
    Column("raw_json", JSON, nullable=False),
    Index("run_events_by_run", "run_id", "id"),
)

previews = Table(
    "previews",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant_id", ID, nullable=False),
    Column("workspace_id", ID, nullable=False),
    Column("session_id", ID),
    Column("branch", Text),
    Column("commit", Text),
    Column("command", Text),
    Column("wanted_framework", Text),
    Column("framework", Text),
    Column("name", Text),
    Column("serve", Text),
    Column("status", String(20), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("method", String(20)),
    Column("port", Integer),
    Column("address", Text),
    Column("took_ms", BigInteger),
    Column("reason", String(50)),
    Column("message", Text),
    Column("exit_code", Integer),
    Column("log_tail", JSON, nullable=False),
    Column("requested_by", Text),
    _moment("created_at", nullable=False),
    _moment("updated_at", nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("started_seq", BigInteger, nullable=False),
    Index("previews_by_tenant", "tenant_id", "first_seq"),
)

preview_shares = Table(
    "preview_shares",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant_id", ID, nullable=False),
    Column("preview_id", ID, nullable=False),
    _moment("expires_at", nullable=False),
    Column("shared_by", Text),
    _moment("created_at", nullable=False),
    _moment("revoked_at"),
    Column("revoked_by", Text),
    Column("created_seq", BigInteger, nullable=False),
    Index("preview_shares_by_preview", "preview_id", "created_seq"),
)

preview_tickets = Table(
    "preview_tickets",
    metadata,
    Column("id", ID, primary_key=True),
    _moment("expires_at", nullable=False),
)
"""Links that were opened and open nothing any more: no projection, but what has been done with them."""

session_outputs = Table(
    "session_outputs",
    metadata,
    Column("session_id", ID, primary_key=True),
    Column("bytes", BigInteger, nullable=False),
)
"""What containers have brought to the bucket of outputs: no projection either, the bucket does not know whose."""

STATE = (
    workspaces,
    sessions,
    runs,
    approvals,
    run_usage,
    container_environments,
    sandbox_rules,
    previews,
    preview_shares,
)
"""Written by the state projection, which every write waits for."""

ARCHIVE = (messages, run_events)
"""Written by the archive projection, which nobody waits for but readers of transcripts."""
