"""The managed copy is brought up to date with its remote: when somebody asks (`cmd.workspace.fetch`), or in step."""

import asyncio
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from runyard_chassis import Conflict as ConflictProblem
from runyard_chassis import NotFound, Problem, get_logger, refusal
from runyard_events import Command, LogUnavailable, Reply, Scope
from runyard_events.catalogue import WorkspaceFetched, WorkspaceImported, WorkspaceImportProgress, WorkspaceSyncFailed
from runyard_events.commands import FetchWorkspace
from runyard_workspace.adapters.following import Tell
from runyard_workspace.adapters.git import GitError
from runyard_workspace.adapters.remotes import Remote, Remotes
from runyard_workspace.domain.credentials import Credential
from runyard_workspace.domain.layout import Layout
from runyard_workspace.domain.progress import Progress
from runyard_workspace.domain.remotes import SENTENCES, SyncFailed, address_of
from runyard_workspace.domain.sources import LocalSource, Refused, Source, parse_source
from runyard_workspace.handlers.credentials import Credentials
from runyard_workspace.histories import Histories

_log = get_logger(__name__)
MAX_BRANCHES = 2000
"""How many of the branches that have changed are told; an event is no place for more."""
STATUS_OF = {"auth_required": 422, "not_found": 422, "timeout": 504, "unreachable": 502, "failed": 502}


@dataclass(frozen=True, slots=True)
class Origin:
    """A workspace's managed copy and where it comes from."""

    source: Source
    imported: WorkspaceImported
    remote: Remote


class Origins:
    """Finds out where workspaces come from."""

    def __init__(
        self, *, histories: Histories, credentials: Credentials, layout: Layout, schemes: tuple[str, ...]
    ) -> None:
        self._histories = histories
        self._credentials = credentials
        self._layout = layout
        self._schemes = schemes

    async def of(self, tenant: str, workspace: str) -> Origin:
        """The remote of a workspace, with what the team signs in with there.

        Raises:
            Problem: there is no such workspace, or it is not there yet or any more.
        """
        state, _ = await self._histories.workspace(tenant, workspace)
        if state.imported is None:
            if state.requested and not state.failed:
                raise ConflictProblem("The workspace is still being imported.", type="workspace-not-ready")
            raise NotFound("There is no such workspace.", type="workspace-not-found")
        if not await asyncio.to_thread((self._layout.repository(workspace) / ".git").is_dir):
            raise ConflictProblem("The workspace's files are not on this machine any more.", type="workspace-lost")
        try:
            source = parse_source(state.imported.source_type, state.imported.source_uri, schemes=self._schemes)
        except Refused as refused:
            raise ConflictProblem(refused.message, type="remote-refused") from None
        if isinstance(source, LocalSource):
            return Origin(source, state.imported, Remote(address_of(source), ("file",)))
        credential = await self._credentials.for_address(tenant, source.url)
        return Origin(source, state.imported, Remote(source.url, self._schemes, credential))

    async def credential_for_api(self, tenant: str, host: str) -> Credential | None:
        """What a team signs in with at a host's API, also where Git goes there over SSH."""
        return await self._credentials.for_address(tenant, f"https://{host}")


class Fetches:
    """Brings workspaces up to date; one at a time for each."""

    def __init__(self, *, histories: Histories, origins: Origins, remotes: Remotes, layout: Layout) -> None:
        self._histories = histories
        self._origins = origins
        self._remotes = remotes
        self._layout = layout
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def fetch(self, command: Command[FetchWorkspace]) -> Reply:
        """Fetches, and says which branches have changed."""
        workspace, tenant = command.payload.workspace_id, command.tenant_id
        scope = Scope.workspace(tenant, workspace)
        async with self._turns.setdefault(workspace, asyncio.Lock()):
            try:
                branches = await self._bring(tenant, workspace, self._teller(scope))
            except SyncFailed as failed:
                return refused(failed, await self._tell_failed(scope, failed))
            seq = await self._histories.tell(scope, WorkspaceFetched(branches=branches))
        return Reply(ok=True, result={"workspace_id": workspace, "branches": branches}, seq=seq)

    async def keep_in_step(self, tenant: str, workspace: str, trouble: str | None) -> bool:
        """Fetches unasked, and says only what is new; returns whether the remote could be fetched from.

        `trouble` is the reason for which it could not the last time: while it stays the same it is not told again.

        Raises:
            Problem: see `Origins.of`.
        """
        scope = Scope.workspace(tenant, workspace)
        async with self._turns.setdefault(workspace, asyncio.Lock()):
            try:
                branches = await self._bring(tenant, workspace, _to_nobody)
            except SyncFailed as failed:
                if failed.reason != trouble:
                    await self._tell_failed(scope, failed)
                return False
            if branches or trouble:
                await self._histories.tell(scope, WorkspaceFetched(branches=branches))
        return True

    async def _bring(self, tenant: str, workspace: str, tell: Tell) -> dict[str, str]:
        """The branches that have changed.

        Raises:
            Problem: see `Origins.of`.
            SyncFailed: whatever goes wrong at the remote, or in our own copy.
        """
        origin = await self._origins.of(tenant, workspace)
        try:
            branches = await self._remotes.fetch(self._layout.repository(workspace) / ".git", origin.remote, tell)
        except GitError as error:
            raise as_sync_failure(error) from error
        _log.info("workspace.fetched", workspace_id=workspace, branches=len(branches))
        return dict(list(branches.items())[:MAX_BRANCHES])

    async def _tell_failed(self, scope: Scope, failed: SyncFailed) -> int:
        return await self._histories.tell(scope, WorkspaceSyncFailed(reason=failed.reason, message=failed.message))

    def _teller(self, scope: Scope) -> Tell:
        async def tell(progress: Progress) -> None:
            try:
                await self._histories.tell(
                    scope,
                    WorkspaceImportProgress(phase=progress.phase, percent=progress.percent, message=progress.message),
                )
            except LogUnavailable:
                _log.warning("workspace.progress_lost", phase=progress.phase)

        return tell


async def _to_nobody(_: Progress) -> None:
    """Nobody waits for a fetch that nobody asked for."""


def as_sync_failure(error: SyncFailed | GitError) -> SyncFailed:
    """What our own Git could not do in the words of the rest."""
    if isinstance(error, SyncFailed):
        return error
    _log.error("sync.git_failed", error=str(error))
    return SyncFailed("failed", error.last_words)


def refused(failed: SyncFailed, seq: int | None = None) -> Reply:
    """The answer to somebody whose wish was not carried out."""
    extra: dict[str, Any] = {"files": list(failed.files)} if failed.files else {}
    slug = f"sync-{failed.reason.replace('_', '-')}"
    problem = Problem(STATUS_OF.get(failed.reason, 409), slug, SENTENCES[failed.reason], failed.message, **extra)
    return refusal(problem).model_copy(update={"seq": seq})
