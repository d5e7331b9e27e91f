"""What a session still owes: events that follow from where it stands, and commands not carried out yet.

Levels, not edges: the process manager asks after every event, the reconciler asks from time to time,
and both find the same answer. Whatever was decided but lost on the way is found here again.
"""

from dataclasses import dataclass

from runyard_events.catalogue import (
    TERMINAL_TYPES,
    RunCancelRequested,
    RunDispatched,
    SessionFailed,
    SessionReady,
    SessionRunActivated,
    SessionRunDequeued,
    SessionRunQueued,
)
from runyard_orchestrator.domain.decisions import cancellation
from runyard_orchestrator.domain.facts import Planned
from runyard_orchestrator.domain.rules import PROCESSES, Installation, where
from runyard_orchestrator.domain.state import State

DELETED = "the session was deleted"


@dataclass(frozen=True, slots=True)
class OpenTree:
    """The session needs its worktree."""


@dataclass(frozen=True, slots=True)
class RemoveTree:
    """Nobody needs the session's worktree any more."""


@dataclass(frozen=True, slots=True)
class Start:
    """The active run waits for a runner."""

    run_id: str


Errand = OpenTree | RemoveTree | Start

CALLS_FOR: dict[type[Errand], frozenset[str]] = {
    OpenTree: frozenset({"session.created"}),
    RemoveTree: frozenset({"session.deleted", "session.failed", "worktree.opened", *TERMINAL_TYPES}),
    Start: frozenset({"run.dispatched"}),
}
"""The events after which an errand is new. Only the reconciler repeats one without such an event."""


def owed_events(state: State, installation: Installation = PROCESSES) -> tuple[Planned, ...]:
    """The next batch that follows from this state, nothing when all is as it should be.

    Where a run goes is decided when it is dispatched, by the rules as they are then.
    """
    match state.session.status:
        case "creating":
            return _outcome_of_worktree(state)
        case "ready":
            return _next_active(state, installation)
        case "deleted" | "failed":
            return _farewell(state)
        case "absent":
            return ()


def owed_errands(state: State) -> tuple[Errand, ...]:
    """The commands that this state needs to be carried out by others."""
    session, tree = state.session, state.worktree
    match session.status:
        case "creating" if tree is None:
            return (OpenTree(),)
        case "ready" if session.active_run_id and state.run(session.active_run_id).status == "dispatched":
            return (Start(session.active_run_id),)
        case "deleted" | "failed" if tree is not None and tree.status == "opened" and not state.open_runs:
            return (RemoveTree(),)
        case _:
            return ()


def _outcome_of_worktree(state: State) -> tuple[Planned, ...]:
    tree = state.worktree
    if tree is None:
        return ()
    if tree.status == "opened":
        ready = SessionReady(
            repo_path=tree.path,
            thread_id=state.session.runner_thread_id,
            branch=tree.branch,
            base_commit=tree.base_commit,
        )
        return (Planned(ready),)
    if tree.status == "failed":
        return (Planned(SessionFailed(reason=tree.reason, message=tree.message)),)
    return (Planned(SessionFailed(reason="workspace_lost", message="The worktree was removed.")),)


def _next_active(state: State, installation: Installation) -> tuple[Planned, ...]:
    """One step at a time, each about one lifecycle: the log guards it, and whoever comes next goes on from there."""
    session = state.session
    active = session.active_run_id
    if active is not None and state.run(active).status == "queued":
        method = where(installation, state.rules, session.runner_type)
        return (Planned(RunDispatched(runner_type=session.runner_type, method=method), active),)
    gone = [run_id for run_id in session.queue if state.run(run_id).ended]
    if gone:
        return (Planned(SessionRunDequeued(dequeued_run_id=gone[0])),)
    if state.idle and state.waiting:
        first = state.waiting[0]
        return (Planned(SessionRunActivated(active_run_id=first)),) if state.run(first).status == "queued" else ()
    if state.unplaced:
        return (Planned(SessionRunQueued(queued_run_id=state.unplaced[0], position=len(session.queue))),)
    return ()


def _farewell(state: State) -> tuple[Planned, ...]:
    for run_id, run in sorted(state.open_runs.items()):
        if run.status in ("queued", "dispatched"):
            return cancellation(run_id, reason=DELETED)
        if run.status in ("running", "waiting_approval"):
            return (Planned(RunCancelRequested(reason=DELETED), run_id),)
    return ()
