"""Checkpoints: everything the agent did is kept, nothing of the user's is touched."""

import hashlib
import os
from pathlib import Path

import pytest

from runyard_workspace.adapters.weighing import SnapshotLimits
from runyard_workspace.domain.diff import totals

from .conftest import git, make_repository
from .desks import OTHER, SESSION, Desk, desk, open_desk

__all__ = ["desk"]


def user_state(desk: Desk) -> dict[str, str]:
    """Everything of the user's that a checkpoint must leave as it is, to the byte."""
    admin = desk.repository / ".git" / "worktrees" / SESSION
    state = {name: hashlib.sha256((admin / name).read_bytes()).hexdigest() for name in ("HEAD", "index", "gitdir")}
    state["index time"] = str((admin / "index").stat().st_mtime_ns)
    state["main index"] = hashlib.sha256((desk.repository / ".git/index").read_bytes()).hexdigest()
    state["branches"] = git(desk.repository, "for-each-ref", "refs/heads", "refs/tags", "refs/remotes")
    state["status"] = git(desk.path, "--no-optional-locks", "status", "--porcelain=v2", "--branch", "--ignored")
    state["logs"] = "\n".join(sorted(str(path) for path in (desk.repository / ".git/logs").rglob("*")))
    state["staged"] = git(desk.path, "diff", "--cached")
    return state


async def test_hooks_and_filters_of_the_repository_are_not_run(repository: Path, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    desk = await open_desk(repository, tmp_path)
    for name in ("post-checkout", "post-index-change", "reference-transaction", "pre-commit", "fsmonitor"):
        hook = repository / ".git/hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {mark}-{name}\n")
        hook.chmod(0o755)
    for key, value in {
        "core.fsmonitor": str(repository / ".git/hooks/fsmonitor"),
        "filter.Evil.One.clean": f"touch {mark}-clean; cat",
        "filter.Evil.One.smudge": f"touch {mark}-smudge; cat",
        "filter.Evil.One.process": f"touch {mark}-process",
        "filter.Evil.One.required": "true",
        "diff.evil.textconv": f"touch {mark}-textconv; cat",
        "diff.evil.command": f"touch {mark}-command",
        "diff.external": f"touch {mark}-external",
        "core.pager": f"touch {mark}-pager",
        "gpg.program": f"touch {mark}-gpg",
        "commit.gpgSign": "true",
    }.items():
        git(repository, "config", key, value)
    (desk.path / ".gitattributes").write_text("*.txt filter=Evil.One diff=evil\n")
    (desk.path / "a.txt").write_text("content\n")
    kept = await desk.keep()
    diff = await desk.diffs.between(desk.at, kept.parent, kept.commit)
    assert "+content" in diff.patch
    other = await desk.worktrees.open(repository, tmp_path / "worktrees" / OTHER, OTHER)
    await desk.worktrees.remove(repository, other.path, other.branch)
    assert [name for name in os.listdir(tmp_path) if name.startswith("executed")] == []  # noqa: PTH208


async def test_a_checkpoint_holds_what_was_added_changed_and_deleted(desk: Desk) -> None:
    (desk.path / "new").mkdir()
    (desk.path / "new" / "file.txt").write_text("1\n2\n3\n")
    (desk.path / "README.md").write_text("# Hello\nmore\n")
    (desk.path / "src" / "app.py").unlink()
    changes = await desk.changes(await desk.keep())
    assert {path: one.status for path, one in changes.items()} == {
        "new/file.txt": "added",
        "README.md": "modified",
        "src/app.py": "deleted",
    }
    assert totals(list(changes.values())).insertions == 4
    assert totals(list(changes.values())).deletions == 1


async def test_a_checkpoint_leaves_branch_index_head_and_status_as_they_are(desk: Desk) -> None:
    (desk.path / ".gitignore").write_text("*.log\n")
    (desk.path / "noise.log").write_text("x")
    (desk.path / "staged.txt").write_text("staged")
    git(desk.path, "add", "staged.txt")
    (desk.path / "staged.txt").write_text("changed since")
    git(desk.path, "add", "-N", ".gitignore")
    (desk.path / "README.md").unlink()
    before = user_state(desk)
    kept = await desk.keep()
    assert user_state(desk) == before
    changes = await desk.changes(kept)
    assert set(changes) == {".gitignore", "staged.txt", "README.md"}
    assert git(desk.repository, "show", f"{kept.commit}:staged.txt") == "changed since"
    assert list(desk.scratch.iterdir()) == []


async def test_a_checkpoint_without_changes_is_a_commit_without_changes(desk: Desk) -> None:
    kept = await desk.keep()
    assert await desk.changes(kept) == {}
    assert git(desk.repository, "rev-parse", kept.ref) == kept.commit


async def test_a_repeated_checkpoint_is_the_first_one(desk: Desk) -> None:
    (desk.path / "a.txt").write_text("a")
    first = await desk.keep()
    (desk.path / "b.txt").write_text("b")
    again = await desk.keep()
    assert (again.commit, again.ref, again.parent) == (first.commit, first.ref, first.parent)


async def test_checkpoints_stand_behind_each_other(desk: Desk) -> None:
    (desk.path / "a.txt").write_text("a\n")
    first = await desk.keep("r1")
    (desk.path / "b.txt").write_text("b\n")
    second = await desk.keep("r2", parent=first.commit)
    assert set(await desk.changes(second)) == {"b.txt"}


async def test_commits_that_the_agent_made_are_part_of_the_checkpoint(desk: Desk) -> None:
    (desk.path / "a.txt").write_text("a\n")
    git(desk.path, "add", "-A")
    git(desk.path, "commit", "-q", "-m", "By the agent")
    made = git(desk.path, "rev-parse", "HEAD")
    kept = await desk.keep()
    assert set(await desk.changes(kept)) == {"a.txt"}
    assert git(desk.repository, "rev-parse", f"{kept.commit}^2") == made


async def test_a_branch_without_a_commit_can_be_checkpointed(desk: Desk) -> None:
    git(desk.path, "checkout", "-q", "--orphan", "fresh")
    git(desk.path, "rm", "-rfq", "--cached", ".")
    (desk.path / "a.txt").write_text("a\n")
    assert (await desk.changes(await desk.keep()))["a.txt"].status == "added"


async def test_a_huge_file_is_left_out_and_named(repository: Path, tmp_path: Path) -> None:
    desk = await open_desk(repository, tmp_path, SnapshotLimits(file_bytes=1000))
    (desk.path / "huge.bin").write_bytes(b"x" * 1001)
    (desk.path / "README.md").write_bytes(b"y" * 2000)
    (desk.path / "small.txt").write_text("fits")
    kept = await desk.keep()
    assert kept.skipped == ("README.md", "huge.bin")
    assert set(await desk.changes(kept)) == {"small.txt"}


async def test_many_files_are_kept_up_to_the_total_the_small_ones_first(repository: Path, tmp_path: Path) -> None:
    desk = await open_desk(repository, tmp_path, SnapshotLimits(total_bytes=500, files=3))
    for number in range(1, 6):
        (desk.path / f"f{number}").write_text("x" * 100 * number)
    kept = await desk.keep()
    assert set(await desk.changes(kept)) == {"f1", "f2"}
    assert kept.skipped == ("f3", "f4", "f5")


async def test_links_modes_and_odd_names_are_kept(desk: Desk) -> None:
    (desk.path / "link").symlink_to("/etc/passwd")
    (desk.path / "run.sh").write_text("#!/bin/sh\n")
    (desk.path / "run.sh").chmod(0o755)
    odd = [" lead", "trail ", 'quo"te', "new\nline", "ümlaut", "-dash", ":(top)x", "*", "tab\tx"]
    for name in odd:
        (desk.path / name).write_text("odd\n")
    os.close(os.open(os.fsencode(desk.path) + b"/b\xff\xfe", os.O_CREAT | os.O_WRONLY))
    kept = await desk.keep()
    tree = git(desk.repository, "ls-tree", "-r", "-z", kept.commit)
    for name in odd:
        assert f"\t{name}\0" in tree
    assert "120000" in tree.split("\tlink")[0].splitlines()[-1]
    assert "100755" in tree
    changes = await desk.changes(kept)
    assert "b\\xff\\xfe" in changes
    assert git(desk.repository, "cat-file", "-p", f"{kept.commit}:link") == "/etc/passwd"


async def test_pipes_and_sockets_do_not_stop_a_checkpoint(desk: Desk) -> None:
    os.mkfifo(desk.path / "pipe")
    (desk.path / "README.md").unlink()
    os.mkfifo(desk.path / "README.md")
    (desk.path / "a.txt").write_text("a\n")
    changes = await desk.changes(await desk.keep())
    assert {path: one.status for path, one in changes.items()} == {"README.md": "deleted", "a.txt": "added"}


async def test_a_file_may_become_a_folder_and_a_folder_a_file_or_a_link(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "app.py").write_text("SECRET")
    (desk.path / "README.md").unlink()
    (desk.path / "README.md").mkdir()
    (desk.path / "README.md" / "inner").write_text("x\n")
    (desk.path / "src" / "app.py").unlink()
    (desk.path / "src").rmdir()
    (desk.path / "src").symlink_to(tmp_path / "outside")
    kept = await desk.keep()
    changes = await desk.changes(kept)
    assert changes["README.md/inner"].status in ("added", "renamed")
    assert changes["src/app.py"].status == "deleted"
    assert "SECRET" not in git(desk.repository, "log", "-p", "-m", "--all", "--format=%H")


async def test_a_conflicted_merge_is_kept_with_its_markers(desk: Desk) -> None:
    for branch, text in (("one", "1\n"), ("two", "2\n")):
        git(desk.path, "checkout", "-q", "-B", branch, desk.base)
        (desk.path / "README.md").write_text(text)
        git(desk.path, "commit", "-q", "-am", branch)
    with pytest.raises(Exception, match="returned non-zero"):
        git(desk.path, "merge", "-q", "one")
    before = user_state(desk)
    kept = await desk.keep()
    assert user_state(desk) == before
    assert "<<<<<<<" in git(desk.repository, "show", f"{kept.commit}:README.md")


async def test_a_worktree_s_own_git_file_is_not_believed(desk: Desk, tmp_path: Path) -> None:
    victim = make_repository(tmp_path / "victim", {"secret.txt": "SECRET"})
    (desk.path / ".git").write_text(f"gitdir: {victim}/.git\n")
    (desk.path / "a.txt").write_text("a\n")
    kept = await desk.keep()
    assert set(await desk.changes(kept)) == {"a.txt"}
    assert git(victim, "for-each-ref") == f"{git(victim, 'rev-parse', 'HEAD')} commit\trefs/heads/main"


async def test_a_damaged_index_does_not_stop_a_checkpoint(desk: Desk) -> None:
    (desk.repository / ".git/worktrees" / SESSION / "index").write_bytes(b"DIRC nonsense")
    (desk.path / "a.txt").write_text("a\n")
    assert set(await desk.changes(await desk.keep())) == {"a.txt"}


async def test_a_nested_repository_is_left_out_and_named(desk: Desk) -> None:
    make_repository(desk.path / "nested")
    kept = await desk.keep()
    assert kept.skipped == ("nested/",)
    assert await desk.changes(kept) == {}


async def test_a_submodule_is_kept_as_the_commit_that_it_stands_at(tmp_path: Path) -> None:
    library = make_repository(tmp_path / "library")
    source = make_repository(tmp_path / "source")
    git(source, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "lib")
    git(source, "commit", "-q", "-m", "Add the library")
    desk = await open_desk(source, tmp_path)
    assert await desk.changes(await desk.keep("r0")) == {}
    git(desk.path, "-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init")
    (desk.path / "lib" / "more.txt").write_text("more\n")
    git(desk.path / "lib", "add", "-A")
    git(desk.path / "lib", "commit", "-q", "-m", "More")
    before = user_state(desk)
    changes = await desk.changes(await desk.keep("r1"))
    assert user_state(desk) == before
    assert changes["lib"].submodule
    assert changes["lib"].status == "modified"
