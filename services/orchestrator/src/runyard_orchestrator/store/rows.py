"""Between rows and the domain's values."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from runyard_orchestrator.domain.run import Approval, Run
from runyard_orchestrator.domain.session import Session
from runyard_orchestrator.domain.state import Worktree

SESSION_FIELDS = tuple(field.name for field in fields(Session))
RUN_FIELDS = tuple(field.name for field in fields(Run))
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
