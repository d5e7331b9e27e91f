"""What the log says about a workspace and about a session's files: pure folds of their events."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from runyard_events import Envelope
from runyard_events.catalogue import (
    BranchPushed,
    CheckpointCreated,
    CheckpointFailed,
    CommitsRefused,
    CommitsTaken,
    PullRequestOpened,
    RunStarted,
    WorkspaceImported,
    WorkspaceImportFailed,
    WorkspaceImportRequested,
    WorktreeFailed,
    WorktreeOpened,
    WorktreeRemoved,
)
from runyard_events.catalogue.run import TERMINAL

SOURCE = "workspace"


@dataclass(frozen=True, slots=True)
class WorkspaceState:
    """A workspace as its events tell it. `next_seq` is the number of the event that we would write next."""

    requested: WorkspaceImportRequested | None = None
    imported: WorkspaceImported | None = None
    failed: WorkspaceImportFailed | None = None
    heard_at: datetime | None = None
    """When its last event was."""
    next_seq: int = 1


@dataclass(frozen=True, slots=True)
class FilesState:
    """The files of a session as its events tell it."""

    opened: WorktreeOpened | None = None
    failed: WorktreeFailed | None = None
    removed: bool = False
    refused: CommitsRefused | None = None
    """What was said last about commits of the session's container, if that was that they are not taken."""
    pull_request: PullRequestOpened | None = None
    pushed: Mapping[str, str] = field(default_factory=dict[str, str])
    """The commit that each branch of the remote was last said to be at."""
    next_seq: int = 1


@dataclass(frozen=True, slots=True)
class RunState:
    """Whether an agent has worked in a run, and whether it has ended."""

    started: bool = False
    ended: bool = False


def workspace_state(events: Iterable[Envelope]) -> WorkspaceState:
    """Folds the events of a workspace, oldest first."""
    state = WorkspaceState()
    for event in events:
        state = replace(state, next_seq=_next_seq(state.next_seq, event), heard_at=event.at)
        match event.payload:
            case WorkspaceImportRequested():
                state = replace(state, requested=event.payload)
            case WorkspaceImported():
                state = replace(state, imported=event.payload)
            case WorkspaceImportFailed():
                state = replace(state, failed=event.payload)
            case _:
                pass
    return state


def files_state(events: Iterable[Envelope]) -> FilesState:
    """Folds the `effect` events of a session, oldest first."""
    state = FilesState()
    for event in events:
        state = replace(state, next_seq=_next_seq(state.next_seq, event))
        match event.payload:
            case WorktreeOpened():
                state = replace(state, opened=event.payload)
            case WorktreeFailed():
                state = replace(state, failed=event.payload)
            case WorktreeRemoved():
                state = replace(state, removed=True)
            case CommitsRefused():
                state = replace(state, refused=event.payload)
            case PullRequestOpened():
                state = replace(state, pull_request=event.payload)
            case CommitsTaken():
                state = replace(state, refused=None)
            case BranchPushed(branch=branch, commit=commit):
                state = replace(state, pushed={**state.pushed, branch: commit})
            case _:
                pass
    return state


def run_state(events: Iterable[Envelope]) -> RunState:
    """Folds the lifecycle of a run, oldest first."""
    payloads = [event.payload for event in events]
    return RunState(
        started=any(isinstance(payload, RunStarted) for payload in payloads),
        ended=any(isinstance(payload, TERMINAL) for payload in payloads),
    )


def needs_checkpoint(run: RunState, files: FilesState, *, done: bool) -> bool:
    """Whether the files must be kept: an agent has worked in them, they are there, and it has not been done."""
    return run.started and run.ended and not done and files.opened is not None and not files.removed


def last_checkpoint(events: Iterable[Envelope]) -> CheckpointCreated | None:
    """The newest checkpoint among the `effect` events of a session's runs, oldest first."""
    found = None
    for event in events:
        if isinstance(event.payload, CheckpointCreated):
            found = event.payload
    return found


def settled(events: Iterable[Envelope], run_id: str) -> bool:
    """Whether it stands in the log what became of a run's checkpoint."""
    return any(
        event.run_id == run_id and isinstance(event.payload, (CheckpointCreated, CheckpointFailed)) for event in events
    )


def _next_seq(expected: int, event: Envelope) -> int:
    return max(expected, event.seq + 1) if event.source == SOURCE else expected
