"""The seam between the run loop and an agent: what a runner's adapter has to provide.

An adapter starts the agent's process, speaks its native protocol and translates each native line into
the neutral vocabulary (`runyard_events.catalogue`, family `ui`). Everything else (sequence numbers,
batching, approvals kept in the log, cancel, time limits, the terminal event) is the run loop's.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from runyard_events.catalogue import ErrorReason, Payload, Usage

ApprovalPolicy = Literal["never", "on-request"]
AskKind = Literal["command", "file_change", "tool", "question"]
DecisionKind = Literal["accept", "accept_for_session", "decline", "cancel"]
TurnStatus = Literal["completed", "error", "interrupted"]
Direction = Literal["received", "sent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStart:
    """One turn to be started: who, where, with which words and through which model endpoint."""

    run_id: str
    session_id: str
    thread_id: str
    """Ours, minted when the session was created."""
    native_thread_id: str | None
    """The agent's own thread to resume; None opens a new one."""
    attempt: int
    """1 at first; above it the run is taken up again after its runner was lost."""
    prompt: str
    cwd: Path
    home: Path
    """The agent's own state for this session; survives restarts."""
    model: str | None
    approval_policy: ApprovalPolicy
    model_base_url: str
    """llm-gateway, without a path (http://127.0.0.1:9108)."""
    run_token: str = field(repr=False)
    env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """The whitelisted environment; the adapter adds its own variables and nothing of os.environ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """The agent waits for a person: an approval or a question."""

    key: str
    """Native id, given back to `Turn.answer`."""
    kind: AskKind
    title: str
    detail: Mapping[str, Any]
    """What is asked, without ids that change when the same thing is asked again."""
    options: tuple[DecisionKind, ...] = ("accept", "decline", "cancel")
    questions: tuple[Mapping[str, Any], ...] = ()
    item_id: str | None = None
    """The tool call that the ask belongs to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A person's answer to an `Ask`."""

    kind: DecisionKind
    answers: Mapping[str, Any] | None = None
    """Question id -> answer (text or list of texts)."""
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnEnd:
    """How the turn ended. `usage` is the agent's own count of tokens; cost is never taken from here."""

    status: TurnStatus
    message: str | None = None
    reason: ErrorReason | None = None
    usage: Usage | None = None
    final_text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Native:
    """One native line and what it means. `raw` None: it was made up by the adapter, nothing native beside it."""

    raw: Mapping[str, Any] | None
    direction: Direction = "received"
    neutral: tuple[Payload, ...] = ()
    ask: Ask | None = None
    answered: str | None = None
    """Key of an ask that the agent itself withdrew."""
    end: TurnEnd | None = None
    thread: str | None = None
    """The native thread id has become known."""


class Turn(Protocol):
    """A running turn. Iterating ends after a `Native` with `end`; natives that come later are dropped."""

    @property
    def process_group(self) -> int | None:
        """Group of the agent's process, killed by the loop when `interrupt` brings nothing."""
        ...

    def __aiter__(self) -> AsyncIterator[Native]:
        """Natives in the agent's order. Raises `AgentFailed` when the agent cannot go on."""
        ...

    async def answer(self, key: str, decision: Decision) -> None:
        """Give the agent a person's answer."""
        ...

    async def steer(self, text: str) -> bool:
        """Say something into the running turn; False when the agent cannot take it now."""
        ...

    async def interrupt(self) -> None:
        """Ask the agent to stop the turn; returns at once."""
        ...

    async def close(self, *, kill: bool = False) -> None:
        """Let go of the turn. With `kill` the whole process group ends before this returns."""
        ...


class Agent(Protocol):
    """One per runner process."""

    @property
    def name(self) -> str:
        """Provider of the events: "codex", "claude"."""
        ...

    async def start(self, start: AgentStart) -> Turn:
        """Start a turn. Raises `AgentFailed` when the agent does not come up."""
        ...

    async def close(self) -> None:
        """Stop every process that was started."""
        ...


class AgentsByType:
    """Several agents behind one runner, by the runner type that a session names."""

    def __init__(self, agents: Mapping[str, Agent]) -> None:
        self._agents = agents

    @property
    def name(self) -> str:
        """All of their names; a run's events bear that of the one that works on it."""
        return ",".join(self._agents)

    def of(self, runner_type: str) -> Agent:
        """The agent of a type. Raises KeyError when there is none."""
        return self._agents[runner_type]

    async def start(self, start: AgentStart) -> Turn:
        """Nobody is meant: `of` says who."""
        raise AgentFailed(f"No agent was chosen for run {start.run_id}.", reason="start_failed")

    async def close(self) -> None:
        """Stop every process that was started."""
        for agent in self._agents.values():
            await agent.close()


class AgentFailed(Exception):
    """The agent's process or protocol failed; the run ends as run.error with this reason."""

    def __init__(self, message: str, *, reason: ErrorReason = "agent_error") -> None:
        super().__init__(message)
        self.reason: ErrorReason = reason
