"""The service's tables: projections of its own events, and the questions asked of them."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ARRAY, BigInteger, Column, DateTime, Index, Integer, MetaData, String, Table, Text, select
from sqlalchemy.ext.asyncio import AsyncSession

from runyard_events import checkpoint_table

metadata = MetaData()

projection_checkpoints = checkpoint_table(metadata)

workspaces = Table(
    "workspaces",
    metadata,
    Column("id", String(128), primary_key=True),
    Column("tenant_id", String(128), nullable=False),
    Column("source_type", String(20), nullable=False),
    Column("source_uri", Text, nullable=False),
    Column("storage_mode", String(20), nullable=False),
    Column("display_name", Text, nullable=False),
    Column("status", String(20), nullable=False),
    Column("local_path", Text),
    Column("head_commit", String(64)),
    Column("default_branch", Text),
    Column("size_bytes", BigInteger),
    Column("failure_reason", String(40)),
    Column("failure_message", Text),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("ended_at", DateTime(timezone=True)),
    Column("fetched_at", DateTime(timezone=True)),
    Column("sync_failure_reason", String(40)),
    Column("sync_failure_message", Text),
    Index("ix_workspaces_tenant_id_created_at", "tenant_id", "created_at"),
)

worktrees = Table(
    "worktrees",
    metadata,
    Column("session_id", String(128), primary_key=True),
    Column("tenant_id", String(128), nullable=False),
    Column("workspace_id", String(128), nullable=False),
    Column("status", String(20), nullable=False),
    Column("path", Text),
    Column("branch", Text),
    Column("base_commit", String(64)),
    Column("failure_reason", String(40)),
    Column("failure_message", Text),
    Column("opened_at", DateTime(timezone=True), nullable=False),
    Column("removed_at", DateTime(timezone=True)),
    Column("head_commit", String(64)),
    Column("commits_refused", String(40)),
    Column("pushed_branch", Text),
    Column("pushed_commit", String(64)),
    Column("pushed_at", DateTime(timezone=True)),
    Column("push_failure_reason", String(40)),
    Column("push_failure_message", Text),
    Column("push_failure_files", ARRAY(Text)),
    Column("pull_request_number", Integer),
    Column("pull_request_url", Text),
    Index("ix_worktrees_workspace_id", "workspace_id"),
)

checkpoints = Table(
    "run_checkpoints",
    metadata,
    Column("run_id", String(128), primary_key=True),
    Column("tenant_id", String(128), nullable=False),
    Column("session_id", String(128), nullable=False),
    Column("status", String(20), nullable=False),
    Column("commit", String(64)),
    Column("ref", Text),
    Column("parent", String(64)),
    Column("files_changed", Integer),
    Column("insertions", Integer),
    Column("deletions", Integer),
    Column("skipped_files", Integer),
    Column("failure_reason", String(40)),
    Column("failure_message", Text),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("stream_seq", BigInteger, nullable=False),
    Index("ix_run_checkpoints_session_id_stream_seq", "session_id", "stream_seq"),
)

credentials = Table(
    "credentials",
    metadata,
    Column("tenant_id", String(128), primary_key=True),
    Column("credential_id", String(128), primary_key=True),
    Column("host", Text, nullable=False),
    Column("username", Text, nullable=False),
    Column("set_by", Text),
    Column("set_at", DateTime(timezone=True), nullable=False),
    Column("removed_at", DateTime(timezone=True)),
)
"""What teams sign in with, without the secrets: those stand in the log, sealed."""


@dataclass(frozen=True, slots=True)
class StoredCredential:
    """A credential as a team may see it."""

    credential_id: str
    host: str
    username: str
    set_by: str | None
    set_at: datetime


@dataclass(frozen=True, slots=True)
class Worktree:
    """The worktree of a session; `status` is opened, failed or removed."""

    session_id: str
    tenant_id: str
    workspace_id: str
    status: str
    base_commit: str | None


@dataclass(frozen=True, slots=True)
class RunCheckpoint:
    """What became of the files of a run; `status` is created or failed."""

    run_id: str
    session_id: str
    status: str
    commit: str | None
    parent: str | None
    failure_message: str | None
    created_at: datetime


async def importing(session: AsyncSession) -> list[tuple[str, str]]:
    """The tenant and the id of each workspace whose import has not ended."""
    column = workspaces.c
    found = await session.execute(select(column.tenant_id, column.id).where(column.status == "importing"))
    return [(tenant, workspace) for tenant, workspace in found.all()]


@dataclass(frozen=True, slots=True)
class InUse:
    """A workspace that has files of sessions; `trouble` is why it could not be fetched the last time."""

    tenant: str
    workspace: str
    trouble: str | None


async def workspaces_in_use(session: AsyncSession) -> list[InUse]:
    """The workspaces that are there and have an open worktree."""
    column = workspaces.c
    opened = select(worktrees.c.workspace_id).where(worktrees.c.status == "opened")
    statement = (
        select(column.tenant_id, column.id, column.sync_failure_reason)
        .where(column.status == "ready", column.id.in_(opened))
        .order_by(column.created_at)
    )
    return [InUse(*row) for row in (await session.execute(statement)).all()]


async def list_credentials(session: AsyncSession, tenant_id: str) -> list[StoredCredential]:
    """A team's credentials, by their hosts."""
    column = credentials.c
    statement = (
        select(column.credential_id, column.host, column.username, column.set_by, column.set_at)
        .where(column.tenant_id == tenant_id, column.removed_at.is_(None))
        .order_by(column.host, column.credential_id)
    )
    return [StoredCredential(*row) for row in (await session.execute(statement)).all()]


async def find_worktree(session: AsyncSession, tenant_id: str, session_id: str) -> Worktree | None:
    """The worktree of a tenant's session."""
    column = worktrees.c
    statement = select(
        column.session_id, column.tenant_id, column.workspace_id, column.status, column.base_commit
    ).where(column.session_id == session_id, column.tenant_id == tenant_id)
    row = (await session.execute(statement)).one_or_none()
    return Worktree(*row) if row else None


async def find_checkpoint(session: AsyncSession, tenant_id: str, run_id: str) -> RunCheckpoint | None:
    """The checkpoint of a tenant's run."""
    column = checkpoints.c
    return await _checkpoint(session, column.run_id == run_id, column.tenant_id == tenant_id)


async def newest_checkpoint(session: AsyncSession, tenant_id: str, session_id: str) -> RunCheckpoint | None:
    """The checkpoint that was made last in a tenant's session."""
    column = checkpoints.c
    return await _checkpoint(
        session, column.session_id == session_id, column.tenant_id == tenant_id, column.status == "created"
    )


async def _checkpoint(session: AsyncSession, *conditions: object) -> RunCheckpoint | None:
    column = checkpoints.c
    statement = (
        select(
            column.run_id,
            column.session_id,
            column.status,
            column.commit,
            column.parent,
            column.failure_message,
            column.created_at,
        )
        .where(*conditions)  # pyright: ignore[reportArgumentType]
        .order_by(column.stream_seq.desc())
        .limit(1)
    )
    row = (await session.execute(statement)).one_or_none()
    return RunCheckpoint(*row) if row else None
