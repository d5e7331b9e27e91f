"""Worktrees and checkpoints: everything the agent did is kept, nothing of the user's is touched."""

import asyncio
import contextlib
import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runyard_workspace.adapters.diffs import DiffLimits, Diffs
from runyard_workspace.adapters.git import Git, GitError
from runyard_workspace.adapters.mirror import Mirror, Mirrored
from runyard_workspace.adapters.place import Place
from runyard_workspace.adapters.snapshots import Checkpoint, Snapshots
from runyard_workspace.adapters.staging import Staging
from runyard_workspace.adapters.tree import Tree
from runyard_workspace.adapters.weighing import SnapshotLimits
from runyard_workspace.adapters.worktrees import Worktrees, place_of
from runyard_workspace.domain.diff import FileChange, totals

from .conftest import git, make_repository

SESSION = "0f9bfb45-7d6b-5a3c-8b0a-3d6a2f4c1e11"
OTHER = "0f9bfb45-0000-5a3c-8b0a-3d6a2f4c1e11"
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass
class Desk:
    """A session's worktree and the tools that look at it."""

    repository: Path
    path: Path
    base: str
    at: Place
    snapshots: Snapshots
    diffs: Diffs
    worktrees: Worktrees
    branch: str
    scratch: Path

    async def keep(self, run: str = "r1", parent: str | None = None) -> Checkpoint:
        return await self.snapshots.checkpoint(
            self.at,
            ref=f"refs/runyard/sessions/{SESSION}/runs/{run}",
            parent=parent or self.base,
            message="Files",
            when=WHEN,
        )

    async def changes(self, kept: Checkpoint) -> dict[str, FileChange]:
        return {one.path: one for one in await self.diffs.changes(self.at, kept.parent, kept.commit)}


async def open_desk(repository: Path, folder: Path, limits: SnapshotLimits | None = None) -> Desk:
    tool = Git()
    worktrees = Worktrees(tool)
    opened = await worktrees.open(repository, folder / "worktrees" / SESSION, SESSION)
    return Desk(
        repository=repository,
        path=opened.path,
        base=opened.base_commit,
        at=place_of(repository, opened.path),
        snapshots=Snapshots(tool, Staging(folder / "scratch"), limits or SnapshotLimits()),
        diffs=Diffs(tool, DiffLimits()),
        worktrees=worktrees,
        branch=opened.branch,
        scratch=folder / "scratch",
    )


@pytest.fixture
async def desk(repository: Path, tmp_path: Path) -> Desk:
    return await open_desk(repository, tmp_path)


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


async def test_a_diff_to_now_leaves_no_object_behind(desk: Desk) -> None:
    (desk.path / "a.txt").write_text("only for now\n")
    before = sorted(str(path) for path in (desk.repository / ".git/objects").rglob("*"))
    async with desk.snapshots.scratch() as folder:
        now = await desk.snapshots.take(desk.at, folder, keep=False)
        own = desk.at.with_index(folder / "index", folder / "objects")
        diff = await desk.diffs.between(own, desk.base, now.tree)
    assert "+only for now" in diff.patch
    assert sorted(str(path) for path in (desk.repository / ".git/objects").rglob("*")) == before
    assert list(desk.scratch.iterdir()) == []


async def test_a_diff_marks_binary_files_and_renames(desk: Desk) -> None:
    (desk.path / "image.png").write_bytes(bytes(range(256)))
    (desk.path / "src" / "app.py").rename(desk.path / "src" / "main.py")
    kept = await desk.keep()
    changes = await desk.changes(kept)
    assert changes["image.png"].binary
    assert changes["image.png"].insertions == 0
    assert changes["src/main.py"].status == "renamed"
    assert changes["src/main.py"].old_path == "src/app.py"


async def test_a_large_diff_is_cut_between_files(desk: Desk) -> None:
    for number in range(4):
        (desk.path / f"f{number}").write_text(f"{number}\n" * 1000)
    kept = await desk.keep()
    small = Diffs(Git(), DiffLimits(patch_bytes=5000))
    diff = await small.between(desk.at, kept.parent, kept.commit)
    assert diff.truncated
    assert len(diff.changes) == 4
    assert len(diff.patch) <= 5000
    assert diff.patch.count("diff --git") == 1
    assert diff.patch.endswith("\n")


async def test_a_patch_can_be_applied_to_the_base(desk: Desk, tmp_path: Path) -> None:
    (desk.path / "new file.txt").write_text("with a space\n")
    (desk.path / "README.md").write_text("no end of line")
    kept = await desk.keep()
    diff = await desk.diffs.between(desk.at, kept.parent, kept.commit)
    git(tmp_path, "clone", "-q", str(desk.repository), "fresh")
    (tmp_path / "the.patch").write_text(diff.patch)
    git(tmp_path / "fresh", "apply", str(tmp_path / "the.patch"))
    assert (tmp_path / "fresh" / "README.md").read_text() == "no end of line"
    assert (tmp_path / "fresh" / "new file.txt").read_text() == "with a space\n"


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


SWAPPER = """
import ctypes, os, sys
exchange = ctypes.CDLL(None).renameat2
pairs = [(a.encode(), b.encode()) for a, b in zip(sys.argv[1::2], sys.argv[2::2])]
print("ready", flush=True)
while True:
    for a, b in pairs:
        exchange(-100, a, -100, b, 2)
"""


async def test_what_is_swapped_for_a_link_while_it_is_read_is_not_followed(desk: Desk, tmp_path: Path) -> None:
    """An agent that goes on working could otherwise have files of the host put where it can read them."""
    secret, links = tmp_path / "outside" / "secret.txt", tmp_path / "links"
    for folder in (secret.parent, links, desk.path / "folder"):
        folder.mkdir()
    secret.write_text("a file of the host\n")
    for harmless in (desk.path / "file.txt", desk.path / "folder" / "secret.txt"):
        harmless.write_text("as long, but mine.\n")
    (links / "file.txt").symlink_to(secret)
    (links / "folder").symlink_to(secret.parent)
    names = [str(parent / name) for name in ("file.txt", "folder") for parent in (desk.path, links)]
    swapper = subprocess.Popen(  # noqa: ASYNC220 - it starts at once
        [sys.executable, "-c", SWAPPER, *names], stdout=subprocess.PIPE
    )
    try:
        assert swapper.stdout
        await asyncio.to_thread(swapper.stdout.readline)
        for _ in range(40):
            with contextlib.suppress(GitError):
                async with desk.snapshots.scratch() as scratch:
                    await desk.snapshots.take(desk.at, scratch)
    finally:
        swapper.kill()
        swapper.wait()
    kept = git(tmp_path, "hash-object", str(secret))
    objects = git(desk.at.common_dir, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)").split()
    assert kept not in objects


class _Swapping(Tree):
    """A worktree whose agent puts a folder in the place of a link as soon as that was looked at."""

    def __init__(self, root: Path, name: str, prepared: str) -> None:
        super().__init__(root)
        self._name, self._prepared = root / name, root / prepared

    def link(self, parts: tuple[str, ...]) -> str:
        found = super().link(parts)
        self._name.unlink()
        self._prepared.rename(self._name)
        return found


def test_a_link_that_becomes_a_folder_leads_no_copy_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent could otherwise make files of the host: jobs, keys, hooks."""
    worktree, host, copies = (tmp_path / name for name in ("worktree", "host", "copies"))
    for folder in (worktree, host, copies, worktree / "prepared"):
        folder.mkdir()
    (worktree / "a").symlink_to(host)
    (worktree / "prepared" / "job").write_text("of the agent's making")
    mirror = Mirror(worktree, copies, tmp_path)
    monkeypatch.setattr(mirror, "_tree", _Swapping(worktree, "a", "prepared"))

    copied = mirror.bring([b"a", b"a/job"], 1000)

    assert list(host.iterdir()) == []
    assert copied == Mirrored((b"a",), (), (b"a/job",))
