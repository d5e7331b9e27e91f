"""`cmd.workspace.import`: a repository becomes a workspace, or the asker learns why not."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from runyard_chassis import Conflict as ConflictProblem
from runyard_chassis import Invalid, Problem, get_logger, refusal
from runyard_events import Command, CommandBus, Conflict, LogUnavailable, Reply, Scope, Writer
from runyard_events.catalogue import (
    WorkspaceImported,
    WorkspaceImportFailed,
    WorkspaceImportProgress,
    WorkspaceImportRequested,
)
from runyard_events.commands import ImportWorkspace
from runyard_workspace.adapters.clone import Cloned, CloneFailed, Cloner
from runyard_workspace.domain.credentials import Credential
from runyard_workspace.domain.layout import Layout
from runyard_workspace.domain.progress import Progress
from runyard_workspace.domain.sources import LocalSource, Refused, Source, parse_source
from runyard_workspace.domain.state import WorkspaceState
from runyard_workspace.handlers.credentials import Credentials
from runyard_workspace.histories import Histories

_log = get_logger(__name__)

STATUS_OF_FAILURE = {"auth_required": 422, "timeout": 504, "disk_full": 507, "failed": 502}


@dataclass(frozen=True, slots=True)
class ImportRules:
    """What may be imported, and how long the asker is kept waiting."""

    schemes: tuple[str, ...]
    local_roots: tuple[Path, ...]
    at_once: int
    reply_seconds: float


class Imports:
    """Carries out imports. Whatever has been done already is read from the log, so a repeat is harmless."""

    def __init__(
        self,
        *,
        histories: Histories,
        cloner: Cloner,
        credentials: Credentials,
        layout: Layout,
        bus: CommandBus,
        rules: ImportRules,
    ) -> None:
        self._histories = histories
        self._credentials = credentials
        self._cloner = cloner
        self._layout = layout
        self._bus = bus
        self._rules = rules
        self._slots = asyncio.Semaphore(rules.at_once)
        self._at: Counter[str] = Counter()

    def is_at(self, workspace_id: str) -> bool:
        """Whether this service is at work on an import just now, or has it wait for its turn."""
        return self._at[workspace_id] > 0

    async def handle(self, command: Command[ImportWorkspace]) -> Reply:
        """Clones and answers; when that takes long, answers first that the import goes on."""
        workspace = command.payload.workspace_id
        self._at[workspace] += 1
        try:
            return await self._handle(command)
        finally:
            self._at[workspace] -= 1
            self._at += Counter()  # drops what is at 0

    async def _handle(self, command: Command[ImportWorkspace]) -> Reply:
        source = await self._admit(command.payload)
        state, seq = await self._request(command)
        if state.imported or state.failed:
            return _reply(command.payload.workspace_id, state, seq)
        work = asyncio.ensure_future(self._import(command, source, state, seq))
        try:
            done, _ = await asyncio.wait([work], timeout=self._rules.reply_seconds)
            if not done:
                going_on = Reply(ok=True, result=_result(command.payload.workspace_id, "importing"), seq=seq)
                await self._bus.reply(command, going_on)
            return await work
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _admit(self, wanted: ImportWorkspace) -> Source:
        """The source, when it may be imported. What is refused leaves no event: it may hold a secret."""
        try:
            source = parse_source(wanted.source_type, wanted.source_uri, schemes=self._rules.schemes)
            if isinstance(source, LocalSource):
                await asyncio.to_thread(self._check_local, source.path)
        except Refused as refused:
            raise Invalid(refused.message, type=f"import-{refused.reason.replace('_', '-')}") from None
        return source

    def _check_local(self, path: Path) -> None:
        real = path.resolve()
        if real.is_relative_to(self._layout.root.resolve()):
            raise Refused("refused_url", "The workspaces of this installation cannot be imported as sources.")
        if not any(real.is_relative_to(root.resolve()) for root in self._rules.local_roots):
            raise Refused(
                "refused_url",
                "Local repositories are not imported from this folder (LOCAL_IMPORT_ROOTS names those that are).",
            )

    async def _request(self, command: Command[ImportWorkspace]) -> tuple[WorkspaceState, int]:
        """Puts the request into the log, once; returns where the workspace stands and its last lifecycle sequence."""
        wanted, tenant = command.payload, command.tenant_id
        state, seq = await self._histories.workspace(tenant, wanted.workspace_id)
        if state.requested is None:
            writer = self._writer(command, state)
            try:
                seq = await writer.append(_requested(command), expect=0)
            except Conflict:
                state, seq = await self._histories.workspace(tenant, wanted.workspace_id)
            else:
                return WorkspaceState(requested=_requested(command), next_seq=writer.next_seq), seq
        if state.requested is not None and not _same(state.requested, wanted):
            raise Invalid("This idempotency key was used for another import.", type="idempotency-key-reused")
        return state, seq

    async def _import(
        self, command: Command[ImportWorkspace], source: Source, state: WorkspaceState, expect: int
    ) -> Reply:
        wanted = command.payload
        writer = self._writer(command, state)
        outcome: WorkspaceImported | WorkspaceImportFailed
        async with self._slots:
            try:
                cloned = await self._cloner.clone(
                    source,
                    self._layout.repository(wanted.workspace_id),
                    wanted.workspace_id,
                    _teller(writer),
                    await self._credential(command.tenant_id, source),
                )
                outcome = _imported(wanted, cloned)
            except CloneFailed as failed:
                outcome = WorkspaceImportFailed(reason=failed.failure.reason, message=failed.failure.message)
        try:
            seq = await writer.append(outcome, expect=expect)
        except Conflict:
            # The command was delivered twice and the other one was first: its word stands.
            state, seq = await self._histories.workspace(command.tenant_id, wanted.workspace_id)
        else:
            state = _with_outcome(outcome)
        _log.info("workspace.import_ended", outcome=outcome.TYPE, reason=getattr(outcome, "reason", None))
        return _reply(wanted.workspace_id, state, seq)

    async def _credential(self, tenant: str, source: Source) -> Credential | None:
        if isinstance(source, LocalSource):
            return None
        return await self._credentials.for_address(tenant, source.url)

    def _writer(self, command: Command[ImportWorkspace], state: WorkspaceState) -> Writer:
        scope = Scope.workspace(command.tenant_id, command.payload.workspace_id)
        return self._histories.writer(scope, state.next_seq, correlation_id=command.correlation_id)


def _requested(command: Command[ImportWorkspace]) -> WorkspaceImportRequested:
    wanted = command.payload
    return WorkspaceImportRequested(
        source_type=wanted.source_type,
        source_uri=wanted.source_uri,
        display_name=wanted.display_name,
        requested_by=command.actor,
        idempotency_key=wanted.idempotency_key,
        request_hash=wanted.request_hash,
    )


def _imported(wanted: ImportWorkspace, cloned: Cloned) -> WorkspaceImported:
    return WorkspaceImported(
        source_type=wanted.source_type,
        source_uri=wanted.source_uri,
        display_name=wanted.display_name,
        local_path=str(cloned.path),
        head_commit=cloned.head_commit,
        default_branch=cloned.default_branch,
        size_bytes=cloned.size_bytes,
    )


def _same(requested: WorkspaceImportRequested, wanted: ImportWorkspace) -> bool:
    if requested.request_hash and wanted.request_hash:
        return requested.request_hash == wanted.request_hash
    return (requested.source_type, requested.source_uri) == (wanted.source_type, wanted.source_uri)


def _teller(writer: Writer) -> Callable[[Progress], Awaitable[None]]:
    async def tell(progress: Progress) -> None:
        try:
            await writer.append(
                WorkspaceImportProgress(phase=progress.phase, percent=progress.percent, message=progress.message)
            )
        except LogUnavailable:
            # Nobody sees it now, and the clone need not end for that.
            _log.warning("workspace.progress_lost", phase=progress.phase)

    return tell


def _with_outcome(outcome: WorkspaceImported | WorkspaceImportFailed) -> WorkspaceState:
    if isinstance(outcome, WorkspaceImported):
        return WorkspaceState(imported=outcome)
    return WorkspaceState(failed=outcome)


def _reply(workspace_id: str, state: WorkspaceState, seq: int) -> Reply:
    if state.imported:
        result = _result(workspace_id, "ready", local_path=state.imported.local_path)
        return Reply(ok=True, result=result, seq=seq)
    if state.failed:
        reason = state.failed.reason
        problem = Problem(
            STATUS_OF_FAILURE.get(reason, 422),
            f"import-{reason.replace('_', '-')}",
            "The repository could not be imported",
            state.failed.message,
        )
        return refusal(problem).model_copy(update={"seq": seq})
    raise ConflictProblem("The import was carried out by somebody else, and has not ended.")


def _result(workspace_id: str, status: str, **more: str) -> dict[str, str]:
    return {"workspace_id": workspace_id, "status": status, **more}
