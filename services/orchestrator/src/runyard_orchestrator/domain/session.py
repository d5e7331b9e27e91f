"""A session as its own lifecycle tells it: is it ready, who is active, who waits."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from runyard_events.catalogue import (
    ApprovalPolicy,
    SessionCreated,
    SessionDeleted,
    SessionFailed,
    SessionReady,
    SessionRunActivated,
    SessionRunDequeued,
    SessionRunQueued,
)
from runyard_orchestrator.domain.facts import OWNER, Fact

SessionStatus = Literal["absent", "creating", "ready", "failed", "deleted"]


@dataclass(frozen=True, slots=True)
class Session:
    """A session's state. `active_run_id` is the last activated run; whether it has ended only the run knows.

    `stream_seq` is the place of its last lifecycle event (what the next append must find there),
    `own_seq` the number of the last event that the orchestrator wrote about it.
    """

    status: SessionStatus = "absent"
    workspace_id: str = ""
    runner_type: str = ""
    runner_thread_id: str = ""
    approval_policy: ApprovalPolicy = "never"
    model: str | None = None
    title: str | None = None
    working_directory: str | None = None
    branch: str | None = None
    base_commit: str | None = None
    failure: str | None = None
    queue: tuple[str, ...] = ()
    active_run_id: str | None = None
    created_by: str | None = None
    request_hash: str | None = None
    created_at: datetime | None = None
    deleted_at: datetime | None = None
    stream_seq: int = 0
    own_seq: int = 0


def evolve(session: Session, fact: Fact) -> Session:
    """The session after one more event; one that it has seen already changes nothing."""
    if fact.stream_seq <= session.stream_seq:
        return session
    own = max(session.own_seq, fact.source_seq) if fact.source == OWNER else session.own_seq
    after = replace(session, stream_seq=fact.stream_seq, own_seq=own)
    if isinstance(fact.payload, SessionCreated):
        return _created(after, fact.payload, fact.at)
    return after if session.status == "absent" else _changed(after, fact)


def _created(session: Session, created: SessionCreated, at: datetime) -> Session:
    if session.status != "absent":
        return session
    return replace(
        session,
        status="creating",
        workspace_id=created.workspace_id,
        runner_type=created.runner_type,
        runner_thread_id=created.thread_id,
        approval_policy=created.approval_policy,
        model=created.model,
        title=created.title,
        created_by=created.created_by,
        request_hash=created.request_hash,
        created_at=at,
    )


def _changed(session: Session, fact: Fact) -> Session:
    changed = session
    match fact.payload:
        case SessionReady(repo_path=path, branch=branch, base_commit=commit) if session.status == "creating":
            changed = replace(session, status="ready", working_directory=path, branch=branch, base_commit=commit)
        case SessionFailed(reason=reason, message=message) if session.status == "creating":
            changed = replace(session, status="failed", failure=f"{reason}: {message}")
        case SessionRunQueued(queued_run_id=run_id) if run_id not in session.queue:
            changed = replace(session, queue=(*session.queue, run_id))
        case SessionRunActivated(active_run_id=run_id):
            changed = replace(session, queue=_without(session.queue, run_id), active_run_id=run_id)
        case SessionRunDequeued(dequeued_run_id=run_id):
            changed = replace(session, queue=_without(session.queue, run_id))
        case SessionDeleted():
            changed = replace(session, status="deleted", queue=(), deleted_at=session.deleted_at or fact.at)
        case _:
            pass
    return changed


def _without(queue: tuple[str, ...], run_id: str) -> tuple[str, ...]:
    return tuple(waiting for waiting in queue if waiting != run_id)
