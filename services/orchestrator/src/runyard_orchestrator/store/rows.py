"""Between rows and the domain's values."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from runyard_events.catalogue import SandboxRules
from runyard_orchestrator.domain.run import Approval, Run
from runyard_orchestrator.domain.sandbox import Sandbox
from runyard_orchestrator.domain.session import Session
from runyard_orchestrator.domain.state import Worktree

SESSION_FIELDS = tuple(field.name for field in fields(Session))
RUN_FIELDS = tuple(field.name for field in fields(Run))
SANDBOX_FIELDS = tuple(field.name for field in fields(Sandbox))
WORKTREE_FIELDS = tuple(field.name for field in fields(Worktree))


def session_of(row: Mapping[Any, Any]) -> Session:
    """The session that a row describes."""
    values: dict[str, Any] = {name: row[name] for name in SESSION_FIELDS}
    values["queue"] = tuple(values["queue"])
    return Session(**values)


def session_values(session: Session) -> dict[str, Any]:
    """The columns of a session, its keys left out."""
    values = {name: getattr(session, name) for name in SESSION_FIELDS}
    return {**values, "queue": list(session.queue)}


def run_of(row: Mapping[Any, Any]) -> Run:
    """The run that a row describes."""
    values: dict[str, Any] = {name: row[name] for name in RUN_FIELDS}
    stored: dict[str, dict[str, Any]] = values["approvals"]
    values["approvals"] = {key: Approval(tuple(one["options"]), one["decision"]) for key, one in stored.items()}
    values["handled"] = tuple(values["handled"])
    return Run(**values)


def run_values(run: Run) -> dict[str, Any]:
    """The columns of a run, its keys and its prompt left out."""
    values = {name: getattr(run, name) for name in RUN_FIELDS}
    approvals = {key: {"options": list(one.options), "decision": one.decision} for key, one in run.approvals.items()}
    return {**values, "approvals": approvals, "handled": list(run.handled)}


def worktree_of(row: Mapping[Any, Any]) -> Worktree:
    """The worktree that a row describes."""
    return Worktree(**{name: row[name] for name in WORKTREE_FIELDS})


def worktree_values(worktree: Worktree) -> dict[str, Any]:
    """The columns of a worktree, its keys left out."""
    return {name: getattr(worktree, name) for name in WORKTREE_FIELDS}


def sandbox_of(row: Mapping[Any, Any]) -> Sandbox:
    """The sandbox that a row describes."""
    values: dict[str, Any] = {name: row[name] for name in SANDBOX_FIELDS}
    values["failed_at"] = tuple(values["failed_at"])
    return Sandbox(**values)


def sandbox_values(sandbox: Sandbox) -> dict[str, Any]:
    """The columns of a sandbox, its keys left out."""
    values = {name: getattr(sandbox, name) for name in SANDBOX_FIELDS}
    return {**values, "failed_at": list(sandbox.failed_at)}


def environment_values(tenant: str, session_id: str, sandbox: Sandbox) -> dict[str, Any]:
    """The row of a session's sandbox among all containers."""
    about: dict[str, Any] = {
        "session_id": session_id,
        "epoch": sandbox.epoch,
        "method": sandbox.method,
        "image": sandbox.image,
        "native_id": sandbox.native_id,
        "reason": sandbox.reason,
        "message": sandbox.message,
        "exit_code": sandbox.exit_code,
    }
    return {
        "id": session_id,
        "team_id": tenant,
        "container_type": "agent",
        "container_name": sandbox.name,
        "status": "creating" if sandbox.status == "requested" else sandbox.status,
        "port": None,
        "created_at": sandbox.created_at,
        "updated_at": sandbox.changed_at,
        "metadata": about,
    }


def rules_of(stored: Any) -> SandboxRules | None:
    """What a team has decided, from its column."""
    return None if stored is None else SandboxRules.model_validate(stored)
