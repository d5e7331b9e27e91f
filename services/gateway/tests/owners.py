"""Owners that carry out the gateway's commands with real events, as orchestrator and workspace do."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from pydantic import SecretStr

from runyard_chassis import CommandServer, Conflict, Invalid, NotFound, ServiceSettings
from runyard_events.catalogue import (
    AnyPayload,
    ApprovalResolved,
    BranchPushed,
    CredentialRemoved,
    CredentialSet,
    Method,
    PullRequestOpened,
    RunApprovalResolved,
    RunCancelled,
    RunCancelRequested,
    RunDispatched,
    RunSteerRequested,
    SandboxDeleted,
    SandboxPaused,
    SandboxRequested,
    SandboxRulesChanged,
    SandboxStopped,
    SessionDeleted,
    WorkspaceFetched,
    WorkspaceImportFailed,
    WorkspaceImportRequested,
)
from runyard_events.commands import (
    AnswerApproval,
    CancelRun,
    Command,
    ControlSandbox,
    CreateSession,
    DeleteSession,
    FetchWorkspace,
    ImportWorkspace,
    OpenPullRequest,
    PushSession,
    RemoveCredential,
    Reply,
    RequestRun,
    SetCredential,
    SetSandboxRules,
    SteerRun,
)
from runyard_events.log import EventLog
from runyard_events.subjects import Scope, run_subject, session_subject
from runyard_events.writer import Writer

from .histories import imported, opened, requested


class Owners:
    """Carries out every command at once; the tests choose what an import comes to."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._writers: dict[str, Writer] = {}
        self.may_import = asyncio.Event()
        self.may_import.set()
        self.method: Method = "process"
        """Where runs go."""

    def register(self, orchestrator: CommandServer, workspace: CommandServer) -> None:
        workspace.on(ImportWorkspace)(self.import_workspace)
        workspace.on(FetchWorkspace)(self.fetch)
        workspace.on(PushSession)(self.push)
        workspace.on(OpenPullRequest)(self.open_pull_request)
        workspace.on(SetCredential)(self.set_credential)
        workspace.on(RemoveCredential)(self.remove_credential)
        orchestrator.on(CreateSession)(self.create_session)
        orchestrator.on(DeleteSession)(self.delete_session)
        orchestrator.on(RequestRun)(self.request_run)
        orchestrator.on(CancelRun)(self.cancel_run)
        orchestrator.on(SteerRun)(self.steer_run)
        orchestrator.on(AnswerApproval)(self.answer_approval)
        orchestrator.on(ControlSandbox)(self.control_sandbox)
        orchestrator.on(SetSandboxRules)(self.set_rules)

    async def import_workspace(self, command: Command[ImportWorkspace]) -> Reply:
        wanted = command.payload
        scope = Scope.workspace(command.tenant_id, wanted.workspace_id)
        if wanted.source_uri.startswith("http://user:"):
            raise Invalid("Addresses hold no passwords.", type="import-refused-url")
        last = await self._log.last(scope.subject("lifecycle"))
        if last is not None:
            return Reply(ok=True, seq=last.stream_seq)
        asked = WorkspaceImportRequested(
            source_type=wanted.source_type, source_uri=wanted.source_uri, display_name=wanted.display_name
        )
        await self._write(scope, asked)
        await self.may_import.wait()
        if "nowhere" in wanted.source_uri:
            failed = WorkspaceImportFailed(reason="not_found", message="There is no such repository.")
            return await self._done(scope, failed)
        done = imported()[1].model_copy(update={"display_name": wanted.display_name})
        return await self._done(scope, done)

    async def create_session(self, command: Command[CreateSession]) -> Reply:
        wanted = command.payload
        scope = Scope.session(command.tenant_id, wanted.session_id)
        last = await self._log.last(session_subject(command.tenant_id, wanted.session_id, "lifecycle"))
        if last is not None:
            return Reply(ok=True, seq=last.stream_seq)
        created, ready = opened(wanted.workspace_id)
        update = {"title": wanted.title, "runner_type": wanted.runner_type}
        return await self._done(scope, created.model_copy(update=update), ready)

    async def delete_session(self, command: Command[DeleteSession]) -> Reply:
        return await self._done(Scope.session(command.tenant_id, command.payload.session_id), SessionDeleted())

    async def request_run(self, command: Command[RequestRun]) -> Reply:
        wanted = command.payload
        scope = _run(command)
        session = await self._log.last(session_subject(command.tenant_id, wanted.session_id, "lifecycle"))
        if session is None:
            raise NotFound("There is no such session.", type="session-not-found")
        last = await self._log.last(run_subject(command.tenant_id, wanted.session_id, wanted.run_id, "lifecycle"))
        if last is not None:
            return Reply(ok=True, seq=last.stream_seq)
        asked, told, _ = requested("w", wanted.prompt)
        return await self._done(scope, asked, told, RunDispatched(runner_type="codex", method=self.method))

    async def cancel_run(self, command: Command[CancelRun]) -> Reply:
        last = await self._log.last(_run(command).subject("lifecycle"))
        if last is not None and isinstance(last.event.payload, RunCancelled):
            raise Conflict("The run has ended.", type="run-ended")
        return await self._done(_run(command), RunCancelRequested(reason=command.payload.reason), RunCancelled())

    async def steer_run(self, command: Command[SteerRun]) -> Reply:
        return await self._done(_run(command), RunSteerRequested(text=command.payload.text))

    async def answer_approval(self, command: Command[AnswerApproval]) -> Reply:
        asked = [one async for one in self._log.replay(_run(command).subject("lifecycle"))]
        if command.payload.approval_id not in {getattr(one.event.payload, "approval_id", None) for one in asked}:
            raise NotFound("The run has no such approval.", type="approval-not-found")
        answer = command.payload.model_dump(include={"approval_id", "decision", "answers", "message"}, by_alias=False)
        return await self._done(_run(command), ApprovalResolved(**answer), RunApprovalResolved(**answer))

    async def control_sandbox(self, command: Command[ControlSandbox]) -> Reply:
        wanted = command.payload
        scope = Scope.session(command.tenant_id, wanted.session_id)
        there = await self._log.last(scope.subject("sandbox"))
        match wanted.action:
            case "create" | "start":
                payload: AnyPayload = SandboxRequested(epoch=1, method="docker", purpose="user")
            case _ if there is None:
                raise Conflict("The session has no container.", type="sandbox-absent")
            case "stop":
                payload = SandboxStopped(epoch=1, reason="user")
            case "pause":
                payload = SandboxPaused(epoch=1, reason="user")
            case "delete":
                payload = SandboxDeleted(epoch=1, reason="user")
        return await self._done(scope, payload)

    async def set_rules(self, command: Command[SetSandboxRules]) -> Reply:
        changed = SandboxRulesChanged(rules=command.payload.rules, changed_by=command.actor)
        return await self._done(Scope.team(command.tenant_id), changed)

    async def fetch(self, command: Command[FetchWorkspace]) -> Reply:
        scope = Scope.workspace(command.tenant_id, command.payload.workspace_id)
        seq = await self._write(scope, WorkspaceFetched(branches={"main": "c0ffee"}))
        return Reply(ok=True, seq=seq, result={"workspace_id": scope.aggregate_id, "branches": {"main": "c0ffee"}})

    async def push(self, command: Command[PushSession]) -> Reply:
        wanted = command.payload
        scope = Scope.session(command.tenant_id, wanted.session_id)
        branch = wanted.branch or "runyard/s"
        if branch == "taken":
            files = ["README.md"]
            raise Conflict("The remote's branch has moved on.", type="sync-conflict", files=files)
        seq = await self._write(scope, BranchPushed(workspace_id=wanted.workspace_id, branch=branch, commit="c0ffee"))
        result: dict[str, Any] = {"branch": branch, "commit": "c0ffee", "up_to_date": False, "left_out": []}
        return Reply(ok=True, seq=seq, result=result)

    async def open_pull_request(self, command: Command[OpenPullRequest]) -> Reply:
        wanted = command.payload
        scope = Scope.session(command.tenant_id, wanted.session_id)
        base, url = wanted.base or "main", "https://github.example/org/repo/pull/7"
        opened = PullRequestOpened(
            workspace_id=wanted.workspace_id, branch="b", base=base, number=7, url=url, draft=wanted.draft
        )
        result = {"branch": "b", "commit": "c0ffee", "up_to_date": False, "url": url, "number": 7, "existed": False}
        return Reply(ok=True, seq=await self._write(scope, opened), result=result)

    async def set_credential(self, command: Command[SetCredential]) -> Reply:
        given = command.payload
        event = CredentialSet(
            credential_id=given.credential_id, host=given.host, username=given.username, sealed=given.secret
        )
        result = {"credential_id": given.credential_id, "host": given.host, "username": given.username}
        return Reply(ok=True, seq=await self._write(Scope.team(command.tenant_id), event), result=result)

    async def remove_credential(self, command: Command[RemoveCredential]) -> Reply:
        event = CredentialRemoved(credential_id=command.payload.credential_id)
        return await self._done(Scope.team(command.tenant_id), event)

    async def _done(self, scope: Scope, *payloads: AnyPayload) -> Reply:
        return Reply(ok=True, seq=await self._write(scope, *payloads))

    async def _write(self, scope: Scope, *payloads: AnyPayload) -> int:
        writer = self._writers.setdefault(scope.aggregate_id, Writer(self._log, scope=scope, source="owner"))
        return await writer.write([writer.stamp(payload) for payload in payloads])


def _run(command: Command[Any]) -> Scope:
    return Scope.run(command.tenant_id, command.payload.session_id, command.payload.run_id)


@contextlib.asynccontextmanager
async def serving(log: EventLog, nats_url: str) -> AsyncGenerator[Owners]:
    """Both owners at work."""
    settings = ServiceSettings(nats_url=nats_url, jwt_secret_key=SecretStr("x" * 40))
    owners = Owners(log)
    orchestrator, workspace = (CommandServer(settings, name) for name in ("orchestrator", "workspace"))
    owners.register(orchestrator, workspace)
    async with orchestrator, workspace:
        yield owners
