"""Sends other services out: make a worktree, remove it, start a run."""

from runyard_events import CommandBus, derived_id
from runyard_events.commands import (
    CommandPayload,
    OpenWorktree,
    RemoveWorktree,
    StartInSandbox,
    StartRun,
    command,
)
from runyard_orchestrator.adapters.container_errands import ContainerErrands
from runyard_orchestrator.adapters.ledger import Cause
from runyard_orchestrator.adapters.recently import Recently
from runyard_orchestrator.domain.facts import OWNER
from runyard_orchestrator.domain.owed import Errand, OpenTree, RemoveTree, Start
from runyard_orchestrator.domain.rules import OUR_CONTAINERS
from runyard_orchestrator.domain.state import State
from runyard_orchestrator.store.reading import Rows, SessionKey

_REMEMBERED = 4096


class Errands:
    """The commands that this service gives to others. `has_containers`: starts can be sent into containers of ours."""

    def __init__(self, bus: CommandBus, rows: Rows, containers: ContainerErrands, *, has_containers: bool) -> None:
        self._bus = bus
        self._rows = rows
        self._containers = containers
        self._has_containers = has_containers
        self._sent = Recently(_REMEMBERED)

    async def send(
        self,
        key: SessionKey,
        state: State,
        errand: Errand,
        *,
        cause: Cause | None = None,
        attempt: int = 0,
        prompt: str | None = None,
    ) -> None:
        """Queues the command; the same errand and attempt is queued once (by another process: once in two minutes).

        `prompt` spares reading it for a run that was just asked for.

        Raises:
            LogUnavailable: not known whether it was queued. Unavailable: it cannot be yet.
        """
        about = errand.run_id if isinstance(errand, Start) else key.session_id
        # A run that is taken back from a container is another errand than the one into it.
        in_container = isinstance(errand, Start) and state.run(errand.run_id).method in OUR_CONTAINERS
        name = StartInSandbox.__name__ if in_container else type(errand).__name__
        command_id = derived_id(name, about, attempt)
        if command_id in self._sent:
            return
        payload = await self._payload(key, state, errand, prompt)
        if payload is None:
            return
        await self._bus.send(
            command(
                payload,
                tenant_id=key.tenant_id,
                actor=f"service:{OWNER}",
                command_id=command_id,
                correlation_id=cause.correlation_id if cause else None,
                traceparent=cause.traceparent if cause else None,
            )
        )
        self._sent.add(command_id)

    async def _payload(
        self, key: SessionKey, state: State, errand: Errand, prompt: str | None
    ) -> CommandPayload | None:
        workspace = state.session.workspace_id
        match errand:
            case OpenTree():
                return OpenWorktree(workspace_id=workspace, session_id=key.session_id)
            case RemoveTree():
                return RemoveWorktree(workspace_id=workspace, session_id=key.session_id)
            case Start(run_id=run_id):
                words = prompt if prompt is not None else await self._rows.prompt(key, run_id)
                return None if words is None else await self._start(key, state, run_id, words)

    async def _start(self, key: SessionKey, state: State, run_id: str, prompt: str) -> StartRun | None:
        method = state.run(run_id).method
        if method == "external":
            return None  # somebody else's container asks for it
        if method == "process":
            await self._containers.before_process(key)
            return _start(StartRun, key, state, run_id, prompt=prompt, thread=state.native_thread_id)
        if not self._has_containers:
            return None  # not any more: the keeper of sandboxes says so
        thread = await self._containers.before_container(key, state.rules)
        return _start(StartInSandbox, key, state, run_id, prompt=prompt, thread=thread)


def _start(
    kind: type[StartRun], key: SessionKey, state: State, run_id: str, *, prompt: str, thread: str | None
) -> StartRun:
    session, run = state.session, state.run(run_id)
    return kind(
        session_id=key.session_id,
        run_id=run_id,
        workspace_id=session.workspace_id,
        runner_type=session.runner_type,
        prompt=prompt,
        thread_id=session.runner_thread_id,
        native_thread_id=run.native_thread_id or thread,
        working_directory=session.working_directory or "",
        approval_policy=session.approval_policy,
        model=session.model,
        time_limit_seconds=run.time_limit_seconds,
    )
