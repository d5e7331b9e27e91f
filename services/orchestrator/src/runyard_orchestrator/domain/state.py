"""A session together with what decisions about it look at: its open runs and its worktree."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from runyard_events.catalogue import SandboxRules
from runyard_orchestrator.domain import run as runs
from runyard_orchestrator.domain import session as sessions
from runyard_orchestrator.domain.facts import Fact
from runyard_orchestrator.domain.run import Run
from runyard_orchestrator.domain.session import Session


@dataclass(frozen=True, slots=True)
class Worktree:
    """The session's working tree as the workspace service reported it."""

    status: Literal["opened", "failed", "removed"]
    path: str = ""
    branch: str = ""
    base_commit: str = ""
    reason: str = ""
    message: str = ""
    stream_seq: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """What is known about one session.

    `runs` holds every run that has not ended, the active one even if it has, and those asked for by
    name. `native_thread_id` is the agent's own thread as the session's latest run in a plain process knew it;
    `rules` are what the team has decided about sandboxes.
    """

    session: Session = field(default_factory=Session)
    runs: Mapping[str, Run] = field(default_factory=dict[str, Run])
    worktree: Worktree | None = None
    native_thread_id: str | None = None
    rules: SandboxRules | None = None

    @property
    def idle(self) -> bool:
        """Whether no run is active. An active run that is not known here yet counts as running."""
        active = self.session.active_run_id
        return active is None or (active in self.runs and self.runs[active].ended)

    @property
    def active_run(self) -> Run | None:
        """The run that is active now."""
        active = self.session.active_run_id
        run = self.runs.get(active) if active else None
        return None if run is None or run.ended else run

    @property
    def unplaced(self) -> tuple[str, ...]:
        """Accepted runs that are neither active nor in the queue yet, in the order of their acceptance."""
        session = self.session
        found = [
            (run.first_seq, run_id)
            for run_id, run in self.runs.items()
            if run.status == "queued" and run_id != session.active_run_id and run_id not in session.queue
        ]
        return tuple(run_id for _, run_id in sorted(found))

    @property
    def waiting(self) -> tuple[str, ...]:
        """Runs that wait for their turn."""
        return (*self.session.queue, *self.unplaced)

    @property
    def open_runs(self) -> dict[str, Run]:
        """Runs without their end."""
        return {run_id: run for run_id, run in self.runs.items() if not run.ended and run.status != "absent"}

    def run(self, run_id: str) -> Run:
        """A run, an absent one when it is not known."""
        return self.runs.get(run_id) or Run()

    def after(self, facts: Iterable[tuple[str | None, Fact]]) -> "State":
        """The state after these events, each about a run (by id) or about the session (None)."""
        session, changed = self.session, dict(self.runs)
        for run_id, fact in facts:
            if run_id is None:
                session = sessions.evolve(session, fact)
            else:
                changed[run_id] = runs.evolve(changed.get(run_id) or Run(), fact)
        return replace(self, session=session, runs=changed)
