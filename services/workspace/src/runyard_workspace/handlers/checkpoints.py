"""At the end of a run: the files as the run has left them become a commit on a hidden ref."""

import asyncio

from runyard_chassis import get_logger
from runyard_events import Envelope, Scope, StoredEvent
from runyard_events.catalogue import CheckpointCreated, CheckpointFailed
from runyard_events.catalogue.run import TERMINAL_TYPES
from runyard_workspace.adapters.diffs import Diffs
from runyard_workspace.adapters.disk import FULL, is_full
from runyard_workspace.adapters.git import GitError, GitTimeout
from runyard_workspace.adapters.snapshots import Snapshots
from runyard_workspace.adapters.worktrees import place_of
from runyard_workspace.domain.diff import totals
from runyard_workspace.domain.layout import Layout, checkpoint_ref
from runyard_workspace.domain.state import FilesState, needs_checkpoint
from runyard_workspace.handlers.sandboxes import SandboxGit
from runyard_workspace.histories import Histories

_log = get_logger(__name__)


class Checkpoints:
    """Makes one checkpoint per run that an agent has worked in, however often the end of the run is told.

    The ref, the event's id and a look at the log make a repeat harmless at each step.
    """

    def __init__(
        self, *, histories: Histories, snapshots: Snapshots, diffs: Diffs, sandboxes: SandboxGit, layout: Layout
    ) -> None:
        self._histories = histories
        self._sandboxes = sandboxes
        self._snapshots = snapshots
        self._diffs = diffs
        self._layout = layout

    async def handle(self, stored: StoredEvent) -> None:
        """Looks at a lifecycle event of a run; at the run's end, keeps the files, then what was committed.

        Raises:
            LogUnavailable: the log is away; nothing is lost by trying again.
        """
        event = stored.event
        if event.type not in TERMINAL_TYPES or not (event.session_id and event.run_id):
            return
        tenant, session, run = event.tenant_id, event.session_id, event.run_id
        # At once, because the next run of the session may begin to change the files.
        (files, _), (previous, done), state = await asyncio.gather(
            self._histories.files(tenant, session),
            self._histories.checkpoints(tenant, session, run),
            self._histories.run(tenant, session, run),
        )
        if needs_checkpoint(state, files, done=done):
            await self._settle(event, files, previous)
        if state.started and files.opened and not files.removed:
            await self._sandboxes.after_run(tenant, session, files.opened)

    async def _settle(self, event: Envelope, files: FilesState, previous: CheckpointCreated | None) -> None:
        session, run = event.session_id or "", event.run_id or ""
        outcome = await self._keep(event, files, previous)
        scope = Scope.run(event.tenant_id, session, run)
        await self._histories.writer(scope, 1, correlation_id=event.correlation_id).append(outcome)
        _log.info("checkpoint.settled", outcome=outcome.TYPE, run_id=run, session_id=session)

    async def _keep(
        self, event: Envelope, files: FilesState, previous: CheckpointCreated | None
    ) -> CheckpointCreated | CheckpointFailed:
        assert files.opened is not None  # noqa: S101 - `needs_checkpoint`
        session, run = event.session_id or "", event.run_id or ""
        workspace = files.opened.workspace_id
        at = place_of(self._layout.repository(workspace), self._layout.worktree(workspace, session))
        try:
            kept = await self._snapshots.checkpoint(
                at,
                ref=checkpoint_ref(session, run),
                parent=previous.commit if previous else files.opened.base_commit,
                message=f"Files after run {run}\n\nRunyard-Session: {session}\nRunyard-Run: {run}",
                when=event.at,
            )
            sums = totals(await self._diffs.changes(at, kept.parent, kept.commit))
        except (GitError, OSError) as error:
            _log.exception("checkpoint.failed", run_id=run, session_id=session)
            if is_full(error, at.common_dir):
                return CheckpointFailed(reason="disk_full", message=FULL)
            return CheckpointFailed(reason=_reason(error), message=_sentence(error))
        return CheckpointCreated(
            commit=kept.commit,
            ref=kept.ref,
            parent=kept.parent,
            files_changed=sums.files,
            insertions=sums.insertions,
            deletions=sums.deletions,
            skipped_files=len(kept.skipped),
        )


def _reason(error: GitError | OSError) -> str:
    if isinstance(error, OSError):
        return "disk_failed"
    return "timeout" if isinstance(error, GitTimeout) else "git_failed"


def _sentence(error: GitError | OSError) -> str:
    return error.last_words if isinstance(error, GitError) else error.strerror or "The disk refused."
