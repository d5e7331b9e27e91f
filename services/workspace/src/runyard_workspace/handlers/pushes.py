"""`cmd.workspace.push-session` and `cmd.workspace.open-pull-request`: what a session has worked out goes out."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runyard_chassis import Invalid, NotFound, get_logger
from runyard_events import Command, Reply, Scope
from runyard_events.catalogue import BranchPushed, BranchPushFailed, PullRequestOpened, WorktreeOpened
from runyard_events.commands import OpenPullRequest, PushSession
from runyard_workspace.adapters.branches import HEADS, REMOTES, Branches
from runyard_workspace.adapters.git import Git, GitError
from runyard_workspace.adapters.github import GitHub, Proposal
from runyard_workspace.adapters.place import Place
from runyard_workspace.adapters.remotes import Remotes, untold
from runyard_workspace.adapters.session_commits import SessionCommits, Settled
from runyard_workspace.domain.credentials import Credential
from runyard_workspace.domain.paths import has_control_characters
from runyard_workspace.domain.remotes import GitHubRepository, PushOutcome, SyncFailed, github_repository
from runyard_workspace.handlers.sandboxes import SandboxGit
from runyard_workspace.handlers.syncs import Origin, Origins, as_sync_failure, refused
from runyard_workspace.histories import Histories

_log = get_logger(__name__)
MAX_LEFT_OUT = 200


@dataclass(frozen=True, slots=True)
class _Task:
    """Whose work goes where."""

    tenant: str
    session: str
    opened: WorktreeOpened
    origin: Origin
    branch: str


@dataclass(frozen=True, slots=True)
class _Pushed:
    """A branch of the remote that has all of a session."""

    branch: str
    commit: str
    outcome: PushOutcome
    left_out: tuple[str, ...]
    seq: int | None


@dataclass(frozen=True)
class Pushes:
    """Pushes sessions' branches and asks for their merge."""

    histories: Histories
    origins: Origins
    sandboxes: SandboxGit
    commits: SessionCommits
    branches: Branches
    remotes: Remotes
    github: GitHub
    git: Git

    async def push(self, command: Command[PushSession]) -> Reply:
        """Pushes what a session has worked out, committed or not."""
        wanted, tenant = command.payload, command.tenant_id
        opened = await self._opened(tenant, wanted.workspace_id, wanted.session_id)
        branch = await self._branch(wanted.branch or opened.branch)
        origin = await self.origins.of(tenant, wanted.workspace_id)
        task = _Task(tenant, wanted.session_id, opened, origin, branch)
        try:
            pushed = await self._push(task, wanted.message)
        except SyncFailed as failed:
            return refused(failed, await self._say_failed(task, failed))
        return Reply(ok=True, result=_result(pushed), seq=pushed.seq)

    async def open_pull_request(self, command: Command[OpenPullRequest]) -> Reply:
        """Pushes, then opens a pull request on GitHub; one that is open already is told again."""
        wanted, tenant = command.payload, command.tenant_id
        opened = await self._opened(tenant, wanted.workspace_id, wanted.session_id)
        origin = await self.origins.of(tenant, wanted.workspace_id)
        repository = github_repository(origin.source)
        if repository is None or not self.github.knows(repository):
            raise Invalid("Pull requests can be opened on GitHub only.", type="pull-requests-unsupported")
        base = await self._branch(wanted.base or origin.imported.default_branch)
        task = _Task(tenant, wanted.session_id, opened, origin, opened.branch)
        try:
            credential = await self._for_api(tenant, origin, repository)
            pushed = await self._push(task, wanted.title)
            proposal = Proposal(wanted.title, wanted.body, opened.branch, base, wanted.draft)
            request = await self.github.open(repository, credential, proposal)
        except SyncFailed as failed:
            return refused(failed, await self._say_failed(task, failed))
        event = PullRequestOpened(
            workspace_id=opened.workspace_id,
            branch=opened.branch,
            base=request.base,
            number=request.number,
            url=request.url,
            draft=request.draft,
        )
        state, seq = await self.histories.files(tenant, wanted.session_id)
        if (state.pull_request.url if state.pull_request else None) != event.url:
            seq = await self.histories.tell(Scope.session(tenant, wanted.session_id), event)
        result = {"url": request.url, "number": request.number, "existed": request.existed, **_result(pushed)}
        return Reply(ok=True, result=result, seq=seq)

    async def _push(self, task: _Task, message: str | None) -> _Pushed:
        """Takes the container's commits over, commits the rest, and pushes.

        Raises:
            SyncFailed: nothing was pushed.
        """
        tenant, session, opened, branch = task.tenant, task.session, task.opened, task.branch
        place = self.sandboxes.place(session, opened)
        try:
            async with self.sandboxes.turn(session):
                await self.sandboxes.take(tenant, session, opened)
                words = message or f"Work of session {session}"
                settled = await self.commits.settle(place, session, words, datetime.now(UTC))
            await self._check_something(place.common, settled, task)
            outcome = await self.remotes.push(place.common, task.origin.remote, settled.commit, branch, untold)
        except GitError as error:
            raise as_sync_failure(error) from error
        (state, _), seq = await self.histories.files(tenant, session), None
        # One that is up to date may be so by a push that nobody could tell of any more.
        is_told = state.pushed.get(branch) == settled.commit or settled.commit == opened.base_commit
        if outcome == "pushed" or not is_told:
            event = BranchPushed(workspace_id=opened.workspace_id, branch=branch, commit=settled.commit)
            seq = await self.histories.tell(Scope.session(tenant, session), event)
            _log.info("branch.pushed", session_id=session, branch=branch)
        return _Pushed(branch, settled.commit, outcome, settled.left_out, seq)

    async def _check_something(self, common: Path, settled: Settled, task: _Task) -> None:
        """Raises SyncFailed where the session has changed nothing, and has not pushed before either."""
        if settled.commit != task.opened.base_commit:
            return
        if await self.branches.commit(Place(common), REMOTES + task.branch) is None:
            raise SyncFailed("nothing_to_push")

    async def _say_failed(self, task: _Task, failed: SyncFailed) -> int:
        event = BranchPushFailed(
            workspace_id=task.opened.workspace_id,
            branch=task.branch,
            reason=failed.reason,
            message=failed.message,
            files=failed.files,
        )
        return await self.histories.tell(Scope.session(task.tenant, task.session), event)

    async def _opened(self, tenant: str, workspace: str, session: str) -> WorktreeOpened:
        state, _ = await self.histories.files(tenant, session)
        if state.opened is None or state.opened.workspace_id != workspace:
            raise NotFound("There is no such session, or it has no files.", type="session-not-found")
        if state.removed:
            raise NotFound("The session was deleted and its files with it.", type="worktree-removed")
        return state.opened

    async def _for_api(self, tenant: str, origin: Origin, repository: GitHubRepository) -> Credential:
        found = origin.remote.credential or await self.origins.credential_for_api(tenant, repository.host)
        if found is None:
            raise SyncFailed("auth_required", f"for the API of {repository.host}")
        return found

    async def _branch(self, name: str) -> str:
        """A branch's name, when Git takes it as one."""
        if not has_control_characters(name):
            with suppress(GitError):
                await self.git.output("check-ref-format", HEADS + name)
                return name
        raise Invalid("This cannot be the name of a branch.", type="branch-refused")


def _result(pushed: _Pushed) -> dict[str, Any]:
    return {
        "branch": pushed.branch,
        "commit": pushed.commit,
        "up_to_date": pushed.outcome == "up_to_date",
        "left_out": list(pushed.left_out[:MAX_LEFT_OUT]),
    }
