"""`cmd.workspace.prepare-sandbox` and `cmd.workspace.release-sandbox`, and the commits that containers leave."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from weakref import WeakValueDictionary

from runyard_chassis import Conflict as ConflictProblem
from runyard_chassis import NotFound, Problem, get_logger
from runyard_events import Command, Reply, Scope
from runyard_events.catalogue import CommitsRefused, CommitsTaken, WorktreeOpened
from runyard_events.commands import PrepareSandbox, ReleaseSandbox
from runyard_workspace.adapters.disk import FULL, is_full
from runyard_workspace.adapters.git import GitError
from runyard_workspace.adapters.owners import Owner
from runyard_workspace.adapters.sandbox_commits import SandboxCommits, Taken
from runyard_workspace.adapters.sandboxes import Sandboxes, SandboxPlace
from runyard_workspace.adapters.takeover import NotTaken
from runyard_workspace.domain.layout import Layout
from runyard_workspace.domain.sources import Refused, RemoteSource, parse_source
from runyard_workspace.histories import Histories

_log = get_logger(__name__)


class SandboxGit:
    """What containers of sessions get of Git, and what of theirs is taken over; one step at a time per session."""

    def __init__(self, *, histories: Histories, sandboxes: Sandboxes, commits: SandboxCommits, layout: Layout) -> None:
        self._histories = histories
        self._sandboxes = sandboxes
        self._commits = commits
        self._layout = layout
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def prepare(self, command: Command[PrepareSandbox]) -> Reply:
        """Makes ready what a session's container is to see of the disk."""
        wanted, tenant = command.payload, command.tenant_id
        opened = await self._opened(tenant, wanted.session_id)
        place = self.place(wanted.session_id, opened)
        owner = Owner.parse(wanted.owner) if wanted.owner else Owner.ourselves()
        origin = await self._origin(tenant, opened.workspace_id)
        async with self.turn(wanted.session_id):
            await self.take(tenant, wanted.session_id, opened)
            with _told("The container's files could not be made ready", place):
                made = await self._sandboxes.prepare(place, owner, origin, keep=wanted.beside)
                if made:
                    await self._commits.agree(place, wanted.session_id)
        mounts = [
            {"source": str(one.source), "target": str(one.target), "read_only": one.read_only} for one in place.mounts()
        ]
        return Reply(ok=True, result={"path": str(place.worktree), "branch": place.branch, "mounts": mounts})

    async def release(self, command: Command[ReleaseSandbox]) -> Reply:
        """Brings the session's files back to what an agent without a container works with."""
        wanted, tenant = command.payload, command.tenant_id
        opened = await self._opened(tenant, wanted.session_id)
        place = self.place(wanted.session_id, opened)
        async with self.turn(wanted.session_id):
            if await asyncio.to_thread(place.folder.exists):
                await self.take(tenant, wanted.session_id, opened)
                with _told("The container's files could not be taken back", place):
                    await self._sandboxes.release(place)
        return Reply(ok=True, result={"branch": place.branch})

    async def after_run(self, tenant: str, session: str, opened: WorktreeOpened) -> None:
        """Takes over what the run has committed."""
        async with self.turn(session):
            await self.take(tenant, session, opened)

    async def take(self, tenant: str, session: str, opened: WorktreeOpened) -> None:
        """Takes over what the session's container has committed, and says what came of it. In the session's turn."""
        place = self.place(session, opened)
        if not await asyncio.to_thread(lambda: place.exists):
            return
        outcome: CommitsTaken | CommitsRefused
        try:
            taken = await self._commits.take(place, session)
            if taken is None:
                return
            outcome = _outcome(opened, taken)
        except NotTaken as refused:
            outcome = CommitsRefused(
                workspace_id=opened.workspace_id, branch=opened.branch, reason=refused.reason, message=refused.message,
                commit=refused.commit,
            )  # fmt: skip
            state, _ = await self._histories.files(tenant, session)
            said = state.refused
            if said and (said.reason, said.commit) == (outcome.reason, outcome.commit):
                return
        await self._histories.tell(Scope.session(tenant, session), outcome)
        _log.info("sandbox.commits", outcome=outcome.TYPE, session_id=session)

    async def forget(self, session: str, opened: WorktreeOpened) -> None:
        """Takes what the session's containers had of Git off the disk."""
        await self._sandboxes.drop(self.place(session, opened))

    def place(self, session: str, opened: WorktreeOpened) -> SandboxPlace:
        """Where the session's files and its private Git directory are."""
        workspace = opened.workspace_id
        return SandboxPlace(
            self._layout.repository(workspace),
            self._layout.worktree(workspace, session),
            self._layout.sandbox(workspace, session),
            opened.branch,
        )

    @asynccontextmanager
    async def turn(self, session: str) -> AsyncGenerator[None]:
        """One step at a time for each session's branch."""
        async with self._locks.setdefault(session, asyncio.Lock()):
            yield

    async def _opened(self, tenant: str, session: str) -> WorktreeOpened:
        state, _ = await self._histories.files(tenant, session)
        if state.opened is None:
            raise NotFound("There is no such session, or it has no files.", type="session-not-found")
        if state.removed:
            raise NotFound("The session's worktree has been removed.", type="worktree-removed")
        if not await asyncio.to_thread(self._layout.worktree(state.opened.workspace_id, session).is_dir):
            raise ConflictProblem("The session's files are not on this machine any more.", type="worktree-lost")
        return state.opened

    async def _origin(self, tenant: str, workspace: str) -> str | None:
        """The address of the remote, for the agent to see; a folder of this machine is nothing to it."""
        state, _ = await self._histories.workspace(tenant, workspace)
        if state.imported is None:
            return None
        try:
            source = parse_source(state.imported.source_type, state.imported.source_uri)
        except Refused:
            return None
        return source.url if isinstance(source, RemoteSource) else None


def _outcome(opened: WorktreeOpened, taken: Taken) -> CommitsTaken | CommitsRefused:
    if taken.verdict == "conflict":
        return CommitsRefused(
            workspace_id=opened.workspace_id,
            branch=opened.branch,
            reason="conflict",
            message="The branch was moved outside of the container as well; the container's commits are kept apart.",
            commit=taken.commit,
            ref=taken.ref,
        )
    return CommitsTaken(
        workspace_id=opened.workspace_id,
        branch=opened.branch,
        commit=taken.commit,
        previous=taken.previous,
        rewritten=taken.verdict == "rewritten",
    )


@contextmanager
def _told(title: str, place: SandboxPlace) -> Generator[None]:
    """Failures of Git and of the disk in words for the asker."""
    try:
        yield
    except (GitError, OSError) as error:
        _log.exception("sandbox.failed")
        if is_full(error, place.common):
            raise Problem(507, "disk-full", title, FULL) from error
        if isinstance(error, OSError):
            raise Problem(500, "disk-failed", title, error.strerror) from error
        raise Problem(500, "git-failed", title, error.last_words) from error
