"""From the log to the rows: each table follows one kind of subject."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from runyard_events import StoredEvent
from runyard_events.catalogue import (
    BranchPushed,
    BranchPushFailed,
    CheckpointCreated,
    CheckpointFailed,
    CommitsRefused,
    CommitsTaken,
    CredentialRemoved,
    CredentialSet,
    PullRequestOpened,
    WorkspaceFetched,
    WorkspaceImported,
    WorkspaceImportFailed,
    WorkspaceImportRequested,
    WorkspaceSyncFailed,
    WorktreeFailed,
    WorktreeOpened,
    WorktreeRemoved,
)
from runyard_workspace.store import checkpoints, credentials, workspaces, worktrees

SUBJECTS: Mapping[str, str] = {
    "workspaces": "ev.*.workspace.*.lifecycle",
    "worktrees": "ev.*.session.*.effect",
    "checkpoints": "ev.*.session.*.run.*.effect",
    "credentials": "ev.*.team.*.effect",
}
"""A projection each, because a service's right to read is given by subject."""

Row = dict[str, Any]
Change = tuple[Table, Row]


def change_of(stored: StoredEvent) -> Change | None:
    """The row that an event makes or alters, by its primary key and the columns that it sets; None for others."""
    rule = _RULES.get(stored.event.type)
    return rule(stored) if rule else None


async def apply(session: AsyncSession, events: Sequence[StoredEvent]) -> None:
    """Writes the rows of a batch of events."""
    for stored in events:
        change = change_of(stored)
        if change is not None:
            await _write(session, *change)


async def _write(session: AsyncSession, table: Table, row: Row) -> None:
    keys = [column.name for column in table.primary_key]
    others = {name: value for name, value in row.items() if name not in keys}
    if any(column.name not in row for column in table.columns if not column.nullable):
        # Not a whole row: it follows one that is there already.
        conditions = [table.c[key] == row[key] for key in keys]
        await session.execute(table.update().where(*conditions).values(**others))
        return
    statement = insert(table).values(**row)
    await session.execute(statement.on_conflict_do_update(index_elements=keys, set_=others))


def _requested(stored: StoredEvent) -> Change:
    event, payload = stored.event, stored.event.payload
    return workspaces, {
        "id": stored.address.aggregate_id,
        "tenant_id": event.tenant_id,
        "source_type": payload.source_type,
        "source_uri": payload.source_uri,
        "storage_mode": "managed_copy",
        "display_name": payload.display_name,
        "status": "importing",
        "created_at": event.at,
    }


def _imported(stored: StoredEvent) -> Change:
    payload = stored.event.payload
    return workspaces, {
        "id": stored.address.aggregate_id,
        "status": "ready",
        "local_path": payload.local_path,
        "head_commit": payload.head_commit,
        "default_branch": payload.default_branch,
        "size_bytes": payload.size_bytes,
        "ended_at": stored.event.at,
    }


def _import_failed(stored: StoredEvent) -> Change:
    payload = stored.event.payload
    return workspaces, {
        "id": stored.address.aggregate_id,
        "status": "failed",
        "failure_reason": payload.reason,
        "failure_message": payload.message,
        "ended_at": stored.event.at,
    }


def _opened(stored: StoredEvent) -> Change:
    payload = stored.event.payload
    return worktrees, {
        **_worktree(stored, "opened"),
        "path": payload.path,
        "branch": payload.branch,
        "base_commit": payload.base_commit,
    }


def _open_failed(stored: StoredEvent) -> Change:
    payload = stored.event.payload
    return worktrees, {
        **_worktree(stored, "failed"),
        "failure_reason": payload.reason,
        "failure_message": payload.message,
    }


def _removed(stored: StoredEvent) -> Change:
    return worktrees, {
        "session_id": stored.address.aggregate_id,
        "status": "removed",
        "removed_at": stored.event.at,
    }


def _fetched(stored: StoredEvent) -> Change:
    return workspaces, {
        "id": stored.address.aggregate_id,
        "fetched_at": stored.event.at,
        "sync_failure_reason": None,
        "sync_failure_message": None,
    }


def _not_synced(stored: StoredEvent) -> Change:
    payload = stored.event.payload
    return workspaces, {
        "id": stored.address.aggregate_id,
        "sync_failure_reason": payload.reason,
        "sync_failure_message": payload.message,
    }


def _taken(stored: StoredEvent) -> Change:
    return _of_session(stored, head_commit=stored.event.payload.commit, commits_refused=None)


def _refused(stored: StoredEvent) -> Change:
    return _of_session(stored, commits_refused=stored.event.payload.reason)


def _pushed(stored: StoredEvent) -> Change:
    payload = stored.event.payload
    return _of_session(
        stored,
        pushed_branch=payload.branch,
        pushed_commit=payload.commit,
        pushed_at=stored.event.at,
        push_failure_reason=None,
        push_failure_message=None,
        push_failure_files=None,
    )


def _not_pushed(stored: StoredEvent) -> Change:
    payload = stored.event.payload
    return _of_session(
        stored,
        push_failure_reason=payload.reason,
        push_failure_message=payload.message,
        push_failure_files=list(payload.files),
    )


def _pull_request(stored: StoredEvent) -> Change:
    payload = stored.event.payload
    return _of_session(stored, pull_request_number=payload.number, pull_request_url=payload.url)


def _of_session(stored: StoredEvent, **values: Any) -> Change:
    return worktrees, {"session_id": stored.address.aggregate_id, **values}


def _credential(stored: StoredEvent) -> Change:
    payload = stored.event.payload
    return credentials, {
        "tenant_id": stored.event.tenant_id,
        "credential_id": payload.credential_id,
        "host": payload.host,
        "username": payload.username,
        "set_by": payload.set_by,
        "set_at": stored.event.at,
        "removed_at": None,
    }


def _credential_removed(stored: StoredEvent) -> Change:
    return credentials, {
        "tenant_id": stored.event.tenant_id,
        "credential_id": stored.event.payload.credential_id,
        "removed_at": stored.event.at,
    }


def _kept(stored: StoredEvent) -> Change:
    payload = stored.event.payload
    return checkpoints, {
        **_checkpoint(stored, "created"),
        "commit": payload.commit,
        "ref": payload.ref,
        "parent": payload.parent,
        "files_changed": payload.files_changed,
        "insertions": payload.insertions,
        "deletions": payload.deletions,
        "skipped_files": payload.skipped_files,
    }


def _not_kept(stored: StoredEvent) -> Change:
    payload = stored.event.payload
    return checkpoints, {
        **_checkpoint(stored, "failed"),
        "failure_reason": payload.reason,
        "failure_message": payload.message,
    }


def _worktree(stored: StoredEvent, status: str) -> Row:
    return {
        "session_id": stored.address.aggregate_id,
        "tenant_id": stored.event.tenant_id,
        "workspace_id": stored.event.payload.workspace_id,
        "status": status,
        "opened_at": stored.event.at,
    }


def _checkpoint(stored: StoredEvent, status: str) -> Row:
    return {
        "run_id": stored.address.aggregate_id,
        "session_id": stored.address.session_id,
        "tenant_id": stored.event.tenant_id,
        "status": status,
        "created_at": stored.event.at,
        "stream_seq": stored.stream_seq,
    }


_RULES: Mapping[str, Callable[[StoredEvent], Change]] = {
    WorkspaceImportRequested.TYPE: _requested,
    WorkspaceImported.TYPE: _imported,
    WorkspaceImportFailed.TYPE: _import_failed,
    WorktreeOpened.TYPE: _opened,
    WorktreeFailed.TYPE: _open_failed,
    WorktreeRemoved.TYPE: _removed,
    CheckpointCreated.TYPE: _kept,
    CheckpointFailed.TYPE: _not_kept,
    WorkspaceFetched.TYPE: _fetched,
    WorkspaceSyncFailed.TYPE: _not_synced,
    CommitsTaken.TYPE: _taken,
    CommitsRefused.TYPE: _refused,
    BranchPushed.TYPE: _pushed,
    BranchPushFailed.TYPE: _not_pushed,
    PullRequestOpened.TYPE: _pull_request,
    CredentialSet.TYPE: _credential,
    CredentialRemoved.TYPE: _credential_removed,
}
