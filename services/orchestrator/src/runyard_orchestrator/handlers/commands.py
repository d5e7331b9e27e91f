"""The commands of `cmd.orchestrator.>`: decide, append, send out, answer."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from runyard_chassis import CommandServer, Conflict, Invalid, NotFound, Problem, TimedOut
from runyard_events import Command, CommandPayload, EventLog, Redactor, Reply
from runyard_events.catalogue import WorkspaceFetched, WorkspaceImported, WorkspaceImportFailed, WorkspaceSyncFailed
from runyard_events.commands import (
    AnswerApproval,
    CancelRun,
    CreateSession,
    DeleteSession,
    RequestRun,
    SteerRun,
)
from runyard_events.subjects import workspace_subject
from runyard_orchestrator.adapters.ledger import Cause
from runyard_orchestrator.domain import decisions
from runyard_orchestrator.domain.decisions import Limits, Sender
from runyard_orchestrator.domain.facts import Decision
from runyard_orchestrator.domain.rules import EXTERNAL
from runyard_orchestrator.domain.session import Session
from runyard_orchestrator.domain.state import State
from runyard_orchestrator.handlers.desk import Desk, Outcome
from runyard_orchestrator.store.reading import SessionKey

P = TypeVar("P", bound=CommandPayload)
Decider = Callable[[State, P, Sender], Decision]
_TOKEN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_LONGEST_ID = 128


class Commands:
    """Handlers, one per command."""

    def __init__(
        self,
        desk: Desk,
        log: EventLog,
        *,
        redactor: Redactor,
        limits: Limits,
        runner_types: frozenset[str],
        session_wait_seconds: float,
    ) -> None:
        self._desk = desk
        self._log = log
        self._redactor = redactor
        self._limits = limits
        self._runner_types = runner_types
        self._session_wait = session_wait_seconds

    def register(self, server: CommandServer) -> None:
        """Makes the server hand its commands over."""
        server.on(CreateSession)(self.create_session)
        server.on(DeleteSession)(self.delete_session)
        server.on(RequestRun)(self.request_run)
        server.on(CancelRun)(self.cancel_run)
        server.on(SteerRun)(self.steer_run)
        server.on(AnswerApproval)(self.answer_approval)

    async def create_session(self, command: Command[CreateSession]) -> Reply:
        """Opens a session and answers when its worktree is there.

        Raises:
            Problem: unknown runner (422) or workspace (404, 409), the worktree failed (409) or takes long (504).
        """
        payload = command.payload
        key = session_key(command.tenant_id, payload.session_id)
        if payload.runner_type not in self._runner_types and payload.runner_type != EXTERNAL:
            known = ", ".join(sorted(self._runner_types))
            raise Invalid(f"There is no runner of this type; there are: {known}.", type="unknown-runner-type")
        await need_workspace(self._log, command.tenant_id, payload.workspace_id)
        outcome = await self._decide(command, key, decisions.create_session)
        self._desk.send_errands(key, outcome, _cause(command))
        session = await self._made(key)
        return Reply(ok=True, result=_shown(key, session), seq=session.stream_seq)

    async def delete_session(self, command: Command[DeleteSession]) -> Reply:
        """Closes a session; its runs and its worktree follow by the process manager."""
        key = session_key(command.tenant_id, command.payload.session_id)
        outcome = await self._decide(command, key, decisions.delete_session)
        return Reply(ok=True, result={"session_id": key.session_id}, seq=outcome.seq)

    async def request_run(self, command: Command[RequestRun]) -> Reply:
        """Accepts a prompt; the run starts at once or waits its turn."""
        payload = command.payload
        key = session_key(command.tenant_id, payload.session_id, payload.run_id)

        def decide(state: State, asked: RequestRun, sender: Sender) -> Decision:
            return decisions.request_run(state, asked, sender, self._limits)

        sender, cause = Sender(command.actor, command.id), _cause(command)
        outcome = await self._desk.carry_on(
            key, lambda state: decide(state, payload, sender), cause, run_id=payload.run_id
        )
        if not outcome.types and command.id in outcome.state.run(payload.run_id).handled:
            # This very command was here before, and may have been cut short.
            await self._desk.restore(key, decisions.prompt_line(payload), cause)
        # The rows may not show the run yet; the agent gets the words as the log has them.
        words = self._redactor.clean(payload.prompt)
        self._desk.send_errands(key, outcome, cause, prompt=words)
        queue = outcome.state.session.queue
        result: dict[str, Any] = {
            **_about(outcome, key, payload.run_id),
            "position": queue.index(payload.run_id) if payload.run_id in queue else None,
        }
        return Reply(ok=True, result=result, seq=outcome.seq)

    async def cancel_run(self, command: Command[CancelRun]) -> Reply:
        """Ends a waiting run, asks the runner of a running one to."""
        payload = command.payload
        key = session_key(command.tenant_id, payload.session_id, payload.run_id)
        sender = Sender(command.actor, command.id)
        outcome = await self._desk.carry_on(
            key,
            lambda state: decisions.cancel_run(state, payload, sender),
            _cause(command),
            run_id=payload.run_id,
        )
        return Reply(ok=True, result=_about(outcome, key, payload.run_id), seq=outcome.seq)

    async def steer_run(self, command: Command[SteerRun]) -> Reply:
        """Adds words to a running turn."""
        return await self._about_run(command, command.payload, decisions.steer_run)

    async def answer_approval(self, command: Command[AnswerApproval]) -> Reply:
        """Gives the agent a person's answer; the first one counts."""
        return await self._about_run(command, command.payload, decisions.answer_approval)

    async def _about_run(self, command: Command[P], payload: Any, decide: Decider[P]) -> Reply:
        key = session_key(command.tenant_id, payload.session_id, payload.run_id)
        outcome = await self._decide(command, key, decide, run_id=payload.run_id)
        return Reply(ok=True, result=_about(outcome, key, payload.run_id), seq=outcome.seq)

    async def _decide(
        self, command: Command[P], key: SessionKey, decide: Decider[P], *, run_id: str | None = None
    ) -> Outcome:
        sender = Sender(command.actor, command.id)
        return await self._desk.carry_out(
            key, lambda state: decide(state, command.payload, sender), _cause(command), run_id=run_id
        )

    async def _made(self, key: SessionKey) -> Session:
        """The session once its worktree has been made.

        Raises:
            Problem: it could not be made, was deleted meanwhile, or is not made yet.
        """
        with self._desk.projections.watching(key) as changed:
            try:
                async with asyncio.timeout(self._session_wait):
                    while True:
                        changed.clear()
                        session = (await self._desk.rows.state(key)).session
                        if session.status not in ("absent", "creating"):
                            return _usable(session)
                        await changed.wait()
            except TimeoutError:
                raise TimedOut(
                    "The session's worktree is still being made; look at the session again later.",
                    type="session-still-creating",
                ) from None


def _usable(session: Session) -> Session:
    if session.status == "ready":
        return session
    if session.status == "failed":
        raise Conflict(f"The session could not be made: {session.failure}", type="session-failed")
    raise Conflict("The session was deleted.", type="session-deleted")


def _shown(key: SessionKey, session: Session) -> dict[str, Any]:
    return {
        "session_id": key.session_id,
        "workspace_id": session.workspace_id,
        "runner_type": session.runner_type,
        "thread_id": session.runner_thread_id,
        "repo_path": session.working_directory,
        "branch": session.branch,
    }


def _about(outcome: Outcome, key: SessionKey, run_id: str) -> dict[str, Any]:
    return {"run_id": run_id, "session_id": key.session_id, "status": outcome.state.run(run_id).status}


def _cause(command: Command[Any]) -> Cause:
    return Cause(command.id, command.correlation_id, command.traceparent)


async def need_workspace(log: EventLog, tenant: str, workspace_id: str) -> None:
    """Makes sure that a workspace can be worked with; that its remote is away for the moment does not matter.

    Raises:
        Problem: there is no such workspace, or it has not been imported (yet).
    """
    last = await log.last(workspace_subject(tenant, workspace_id, "lifecycle")) if _is_id(workspace_id) else None
    match last.event.payload if last is not None else None:
        case None:
            raise NotFound("There is no such workspace.", type="workspace-not-found")
        case WorkspaceImported() | WorkspaceFetched() | WorkspaceSyncFailed():
            return
        case WorkspaceImportFailed():
            raise Conflict("The workspace could not be imported.", type="workspace-failed")
        case _:
            raise Conflict("The workspace is still being imported.", type="workspace-not-ready")


def session_key(tenant: str, session_id: str, run_id: str | None = None) -> SessionKey:
    """The session that a command names. Ids become tokens of subjects: whatever cannot be one names nothing."""
    if not _is_id(session_id):
        raise Problem(404, "session-not-found", detail="There is no such session.")
    if run_id is not None and not _is_id(run_id):
        raise Problem(404, "run-not-found", detail="There is no such run.")
    return SessionKey(tenant, session_id)


def _is_id(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_ID and _TOKEN.issuperset(text)
