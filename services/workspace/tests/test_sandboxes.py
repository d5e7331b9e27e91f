"""What a session's container gets of Git, and how its commits come to the session's branch."""

import os
from pathlib import Path

import pytest

from runyard_events.catalogue import CommitsRefused, CommitsTaken, WorktreeRemoved
from runyard_events.commands import OpenPreviewTree, PrepareSandbox, ReleaseSandbox, RemoveWorktree
from runyard_events.subjects import session_subject

from .conftest import Running, git, make_repository
from .containers import Container, contained, container

__all__ = ["container"]


async def test_a_container_gets_the_worktree_the_objects_and_a_git_directory_of_its_own(container: Container) -> None:
    reply = await container.prepare()
    common = container.repo / ".git"
    assert reply.result["path"] == str(container.path)
    assert reply.result["branch"] == container.branch
    assert [(one["target"], one["read_only"]) for one in reply.result["mounts"]] == [
        (str(container.path), False),
        (str(container.path / ".git"), True),
        (str(common / "objects"), True),
        (str(common / "worktrees" / container.session), False),
    ]
    sources = [Path(one["source"]) for one in reply.result["mounts"]]
    assert sources[1].read_text() == (container.path / ".git").read_text()
    assert sources[3] == container.private


async def test_an_agent_sees_its_branch_and_those_of_the_remote_and_nothing_as_changed(container: Container) -> None:
    assert container.git("status", "--porcelain", "--branch") == f"## {container.branch}"
    assert container.git("log", "--format=%s") == "Begin"
    refs = container.git("for-each-ref", "--format=%(refname)").splitlines()
    assert refs == ["refs/heads/main", f"refs/heads/{container.branch}", "refs/remotes/origin/main"]
    container.git("fsck", "--strict")


async def test_what_is_committed_in_the_container_is_on_the_session_s_branch_after_the_run(
    container: Container,
) -> None:
    first = container.ours()
    commit = container.commit("a.txt")
    await container.end_run()
    assert container.ours() == commit
    assert await container.said() == [
        CommitsTaken(workspace_id=container.workspace, branch=container.branch, commit=commit, previous=first)
    ]
    assert git(container.path, "status", "--porcelain") == ""
    git(container.repo, "fsck", "--strict", "--connectivity-only")
    again = container.commit("b.txt")
    await container.end_run()
    assert container.ours() == again
    assert len(await container.said()) == 2


async def test_packed_objects_and_refs_are_taken_over_as_well(container: Container) -> None:
    container.commit("a.txt")
    commit = container.commit("b.txt")
    container.git("gc", "-q", "--prune=now")
    assert not list(container.private.glob("objects/??"))
    await container.end_run()
    assert container.ours() == commit


async def test_without_commits_nothing_is_said(container: Container) -> None:
    (container.path / "a.txt").write_text("not committed\n")
    container.git("add", "a.txt")
    await container.end_run()
    assert await container.said() == []
    # Whatever was staged in there still is.
    assert container.git("diff", "--cached", "--name-only") == "a.txt"


async def test_the_managed_copy_sees_the_worktree_as_before(container: Container) -> None:
    commit = container.commit("a.txt")
    (container.path / "later.txt").write_text("later\n")
    stored = await container.end_run()
    assert stored.event.payload.files_changed == 3
    diff = await container.service.http.get(f"/sessions/{container.session}/diff", headers=container.service.headers())
    assert [each["path"] for each in diff.json()["files"]] == ["README.md", "a.txt", "later.txt"]
    preview = await container.service.ask(
        OpenPreviewTree(workspace_id=container.workspace, preview_id="p", branch=container.branch)
    )
    assert preview.result["commit"] == commit


async def test_an_amended_commit_replaces_the_former_one_which_is_kept_apart(container: Container) -> None:
    former = container.commit("a.txt")
    await container.end_run()
    container.git("commit", "-q", "--amend", "-m", "Better words")
    await container.end_run()
    taken = (await container.said())[-1]
    assert isinstance(taken, CommitsTaken)
    assert (taken.previous, taken.rewritten, taken.commit) == (former, True, container.ours())
    kept = f"refs/runyard/sessions/{container.session}/rewritten/{former}"
    assert git(container.repo, "rev-parse", kept) == former


async def test_a_branch_that_was_moved_on_both_sides_is_a_conflict_and_nothing_is_lost(container: Container) -> None:
    theirs = container.commit("theirs.txt")
    git(container.path, "commit", "-q", "--allow-empty", "-m", "Ours")
    ours = container.ours()
    await container.service.finish_run(container.session)
    await container.prepare()
    (refused,) = await container.said()
    assert isinstance(refused, CommitsRefused)
    assert (refused.reason, refused.commit) == ("conflict", theirs)
    assert container.ours() == ours
    assert git(container.repo, "rev-parse", refused.ref or "") == theirs
    # The next container begins where the managed copy is.
    assert container.git("rev-parse", "HEAD") == ours
    await container.prepare()
    assert len(await container.said()) == 1


async def test_a_container_is_brought_to_where_an_agent_without_one_has_moved_the_branch(container: Container) -> None:
    container.commit("a.txt")
    await container.release()
    assert not container.private.exists()
    (container.path / "b.txt").write_text("b\n")
    git(container.path, "add", "-A")
    git(container.path, "commit", "-q", "-m", "Add b.txt")
    await container.prepare()
    assert container.git("log", "--format=%s") == "Add b.txt\nAdd a.txt\nBegin"
    assert container.git("status", "--porcelain") == ""


async def test_a_container_beside_leaves_the_session_s_git_directory_as_it_is(container: Container) -> None:
    container.git("branch", "-m", "renamed")
    beside = PrepareSandbox(session_id=container.session, beside=True)
    assert (await container.service.ask(beside)).ok
    assert container.git("rev-parse", "--abbrev-ref", "HEAD") == "renamed"
    await container.prepare()
    assert container.git("rev-parse", "--abbrev-ref", "HEAD") == container.branch


async def test_a_session_that_is_removed_leaves_the_commits_of_its_container(container: Container) -> None:
    commit = container.commit("a.txt")
    await container.service.ask(RemoveWorktree(workspace_id=container.workspace, session_id=container.session))
    assert container.ours() == commit
    assert not container.private.parent.exists()
    events = await container.service.events(session_subject(container.service.tenant, container.session, "effect"))
    assert isinstance(events[-1].event.payload, WorktreeRemoved)
    assert [one.event.seq for one in events] == [1, 2, 3]
    refused = await container.service.ask(PrepareSandbox(session_id=container.session))
    assert refused.problem
    assert refused.problem.type == "worktree-removed"


async def test_a_session_of_another_tenant_has_no_files(container: Container) -> None:
    for payload in (PrepareSandbox(session_id=container.session), ReleaseSandbox(session_id=container.session)):
        refused = await container.service.ask(payload, tenant="00000000-0000-4000-8000-00000000000f")
        assert refused.problem
        assert refused.problem.type == "session-not-found"


async def test_a_repository_with_another_hash_works_as_well(service: Running, tmp_path: Path) -> None:
    source = tmp_path / "sha256"
    source.mkdir()
    git(source, "init", "-q", "-b", "main", "--object-format=sha256")
    (source / "a.txt").write_text("a\n")
    git(source, "add", "-A")
    git(source, "commit", "-q", "-m", "Begin")
    container = await contained(service, source)
    commit = container.commit("b.txt")
    await container.end_run()
    assert len(commit) == 64
    assert container.ours() == commit


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
async def test_files_go_to_the_container_s_user_and_come_back(service: Running, tmp_path: Path) -> None:
    container = await contained(service, make_repository(tmp_path / "many", {f"{n}.txt": f"{n}\n" for n in range(20)}))
    await container.prepare("10001:10001")
    dotgit = container.private.parent / "dotgit"
    assert _owners(container.path) | _owners(container.private) | {dotgit.stat().st_uid} == {10001}
    # Nothing counts as changed for it, neither here nor there.
    assert container.git("status", "--porcelain") == ""
    stored = await service.finish_run(container.session)
    assert stored.event.payload.files_changed == 0
    await container.release()
    assert _owners(container.path) == {os.geteuid()}
    assert git(container.path, "status", "--porcelain") == ""


def _owners(path: Path) -> set[int]:
    return {one.lstat().st_uid for one in (path, *path.rglob("*"))}
