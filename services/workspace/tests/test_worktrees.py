"""Each session has a worktree of its own; what is left of one is cleared, and what is worth keeping is not."""

from pathlib import Path

from runyard_workspace.adapters.git import Git
from runyard_workspace.adapters.worktrees import Worktrees

from .conftest import git
from .desks import OTHER, SESSION, Desk, desk

__all__ = ["desk"]


async def test_each_session_has_a_worktree_on_a_branch_of_its_own(repository: Path, tmp_path: Path) -> None:
    worktrees = Worktrees(Git())
    one = await worktrees.open(repository, tmp_path / "w" / SESSION, SESSION)
    two = await worktrees.open(repository, tmp_path / "w" / OTHER, OTHER)
    assert one.branch == "runyard/0f9bfb45"
    assert two.branch == f"runyard/{OTHER}"
    (one.path / "README.md").write_text("mine")
    assert (two.path / "README.md").read_text() == "# Hello\n"
    assert git(one.path, "status", "--porcelain") == "M README.md"
    assert git(two.path, "status", "--porcelain") == ""


async def test_what_a_killed_attempt_has_left_of_a_worktree_is_cleared(repository: Path, tmp_path: Path) -> None:
    worktrees = Worktrees(Git())
    path = tmp_path / "w" / SESSION
    await worktrees.open(repository, path, SESSION)
    (path / "README.md").unlink()
    (repository / ".git/worktrees" / SESSION / "locked").write_text("initializing")
    again = await worktrees.open(repository, path, SESSION)
    assert (path / "README.md").exists()
    assert git(path, "status", "--porcelain") == ""
    assert again.base_commit == git(repository, "rev-parse", "HEAD")


async def test_a_removed_worktree_takes_its_branch_along_only_when_no_commit_is_lost(desk: Desk) -> None:
    kept = await desk.keep()
    await desk.worktrees.remove(desk.repository, desk.path, desk.branch)
    assert not desk.path.exists()
    assert desk.branch not in git(desk.repository, "branch", "--list", "--format=%(refname:short)")
    assert git(desk.repository, "worktree", "list").count("\n") == 0
    assert git(desk.repository, "rev-parse", kept.ref) == kept.commit

    again = await desk.worktrees.open(desk.repository, desk.path, SESSION)
    git(again.path, "commit", "-q", "--allow-empty", "-m", "Worth keeping")
    await desk.worktrees.remove(desk.repository, again.path, again.branch)
    assert again.branch in git(desk.repository, "branch", "--list", "--format=%(refname:short)")


async def test_a_worktree_with_closed_folders_can_be_removed(desk: Desk) -> None:
    (desk.path / "closed" / "inner").mkdir(parents=True)
    (desk.path / "closed" / "inner" / "file").write_text("x")
    (desk.path / "closed" / "inner").chmod(0o500)
    (desk.path / "closed").chmod(0o500)
    await desk.worktrees.remove(desk.repository, desk.path, desk.branch)
    assert not desk.path.exists()
