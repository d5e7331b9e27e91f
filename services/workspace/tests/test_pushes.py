"""What a session has worked out, pushed to a real Git server."""

from pathlib import Path

import pytest

from runyard_events import LogUnavailable, Scope, new_id
from runyard_events.catalogue import BranchPushed, BranchPushFailed, Payload
from runyard_events.commands import FetchWorkspace, OpenPullRequest, PushSession
from runyard_workspace.histories import Histories

from .conftest import Running, git
from .containers import Container
from .remote_servers import GitServer
from .remote_service import imported, push, said, worked


async def test_a_push_brings_what_is_committed_and_what_is_not_to_the_session_s_branch(
    remote: Running, server: GitServer, repository: Path
) -> None:
    workspace = await imported(remote, server, repository)
    session, path = await remote.open_session(workspace)
    branch = git(path, "rev-parse", "--abbrev-ref", "HEAD")
    (path / "a.txt").write_text("a\n")
    git(path, "add", "-A")
    git(path, "commit", "-q", "-m", "By hand")
    (path / "b.txt").write_text("b\n")
    (path / "README.md").unlink()
    reply = await push(remote, workspace, session, message="The rest\n\nWith a body.")
    assert reply.ok, reply.problem
    bare = server.bare("org/repo")
    commit = git(bare, "rev-parse", branch)
    assert reply.result == {"branch": branch, "commit": commit, "up_to_date": False, "left_out": []}
    assert git(bare, "log", "--format=%s", branch).splitlines() == ["The rest", "By hand", "Begin"]
    assert git(bare, "ls-tree", "--name-only", "-r", branch).splitlines() == ["a.txt", "b.txt", "src/app.py"]
    assert git(path, "status", "--porcelain") == ""
    assert git(path, "rev-parse", "HEAD") == commit
    assert await said(remote, session) == [BranchPushed(workspace_id=workspace, branch=branch, commit=commit)]
    again = await push(remote, workspace, session)
    assert again.result["up_to_date"]
    assert len(await said(remote, session)) == 1
    assert (await remote.ask(FetchWorkspace(workspace_id=workspace))).result["branches"] == {}


async def test_a_push_is_told_also_when_the_log_was_away_as_it_came_about(
    remote: Running, server: GitServer, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a service that has died in between: the command comes again, and finds the branch where it should be."""
    workspace, session = await worked(remote, server, repository)
    tell, lost = Histories.tell, list[Payload]()

    async def losing(self: Histories, scope: Scope, payload: Payload) -> int:
        if isinstance(payload, BranchPushed) and not lost:
            lost.append(payload)
            raise LogUnavailable("away")
        return await tell(self, scope, payload)

    monkeypatch.setattr(Histories, "tell", losing)
    reply = await push(remote, workspace, session)
    assert reply.ok, reply.problem
    assert await said(remote, session) == lost
    assert (await push(remote, workspace, session)).result["up_to_date"]
    assert await said(remote, session) == lost


async def test_what_a_container_has_committed_is_pushed_and_it_sees_the_rest_as_committed(
    remote: Running, server: GitServer, repository: Path
) -> None:
    workspace = await imported(remote, server, repository)
    session, path = await remote.open_session(workspace)
    container = Container(remote, workspace, session, path, git(path, "rev-parse", "--abbrev-ref", "HEAD"))
    await container.prepare()
    assert container.git("remote", "get-url", "origin") == f"{server.url}/org/repo.git"
    container.commit("a.txt")
    (path / "b.txt").write_text("b\n")
    reply = await push(remote, workspace, session, message="The rest")
    assert reply.ok, reply.problem
    bare = server.bare("org/repo")
    assert git(bare, "log", "--format=%s", container.branch).splitlines() == ["The rest", "Add a.txt", "Begin"]
    assert container.git("rev-parse", "HEAD") == reply.result["commit"]
    assert container.git("status", "--porcelain") == ""
    container.commit("c.txt")
    await container.end_run()
    assert git(container.repo, "log", "-1", "--format=%s", container.branch) == "Add c.txt"


async def test_a_session_that_has_changed_nothing_has_nothing_to_push(
    remote: Running, server: GitServer, repository: Path
) -> None:
    workspace = await imported(remote, server, repository)
    session, _ = await remote.open_session(workspace)
    refused = await push(remote, workspace, session)
    assert refused.problem
    assert (refused.problem.status, refused.problem.type) == (409, "sync-nothing-to-push")
    (failed,) = await said(remote, session)
    assert isinstance(failed, BranchPushFailed)
    assert failed.reason == "nothing_to_push"


async def test_a_remote_branch_that_has_moved_on_is_a_conflict_with_its_files(
    remote: Running, server: GitServer, repository: Path, tmp_path: Path
) -> None:
    workspace = await imported(remote, server, repository)
    session, path = await remote.open_session(workspace)
    (path / "README.md").write_text("ours\n")
    (path / "ours.txt").write_text("ours\n")
    first = await push(remote, workspace, session)
    branch, bare = first.result["branch"], server.bare("org/repo")
    git(tmp_path, "clone", "-q", "-b", branch, str(bare), "elsewhere")
    (tmp_path / "elsewhere" / "README.md").write_text("theirs\n")
    (tmp_path / "elsewhere" / "theirs.txt").write_text("theirs\n")
    git(tmp_path / "elsewhere", "add", "-A")
    git(tmp_path / "elsewhere", "commit", "-q", "-m", "Theirs")
    git(tmp_path / "elsewhere", "push", "-q")
    theirs = git(bare, "rev-parse", branch)
    (path / "README.md").write_text("ours again\n")
    refused = await push(remote, workspace, session)
    assert refused.problem
    assert (refused.problem.status, refused.problem.type) == (409, "sync-conflict")
    assert refused.problem.extra == {"files": ["README.md"]}
    failed = (await said(remote, session))[-1]
    assert isinstance(failed, BranchPushFailed)
    assert (failed.reason, failed.files) == ("conflict", ("README.md",))
    assert git(bare, "rev-parse", branch) == theirs
    elsewhere = await push(remote, workspace, session, branch="another/name")
    assert elsewhere.ok
    assert git(bare, "rev-parse", "another/name") == elsewhere.result["commit"]


async def test_what_the_remote_does_not_take_is_told_in_its_words(
    remote: Running, server: GitServer, repository: Path
) -> None:
    workspace = await imported(remote, server, repository)
    session, path = await remote.open_session(workspace)
    (path / "a.txt").write_text("a\n")
    hook = server.bare("org/repo") / "hooks" / "update"
    hook.write_text("#!/bin/sh\necho protected >&2\nexit 1\n")
    hook.chmod(0o755)
    refused = await push(remote, workspace, session)
    assert refused.problem
    assert (refused.problem.status, refused.problem.type) == (409, "sync-rejected")
    assert "hook declined" in (refused.problem.detail or "")
    hook.unlink()
    assert (await push(remote, workspace, session)).ok


@pytest.mark.parametrize("branch", ["../x", "a..b", "x.lock", "a b", "a\nb", "", "@{-1}", "-", "refs/../x"])
async def test_names_that_are_no_branch_are_refused(remote: Running, repository: Path, branch: str) -> None:
    workspace = await remote.import_local(repository)
    session, path = await remote.open_session(workspace)
    (path / "a.txt").write_text("a\n")
    refused = await push(remote, workspace, session, branch=branch)
    if branch in ("", "-"):
        # An empty one is the session's own; a dash is a name like any other.
        assert refused.ok
    else:
        assert refused.problem
        assert refused.problem.type == "branch-refused"


async def test_a_session_of_another_tenant_or_workspace_is_not_pushed(remote: Running, repository: Path) -> None:
    workspace = await remote.import_local(repository)
    session, _ = await remote.open_session(workspace)
    for tenant, named in ((new_id(), workspace), (remote.tenant, new_id())):
        for payload in (
            PushSession(workspace_id=named, session_id=session),
            OpenPullRequest(workspace_id=named, session_id=session, title="x"),
        ):
            refused = await remote.ask(payload, tenant=tenant)
            assert refused.problem
            assert refused.problem.type == "session-not-found"
    refused = await remote.ask(FetchWorkspace(workspace_id=workspace), tenant=new_id())
    assert refused.problem
    assert refused.problem.type == "workspace-not-found"
