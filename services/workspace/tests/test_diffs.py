"""What a checkpoint changed, told as a diff that can be read and applied."""

from pathlib import Path

from runyard_workspace.adapters.diffs import DiffLimits, Diffs
from runyard_workspace.adapters.git import Git

from .conftest import git
from .desks import Desk, desk

__all__ = ["desk"]


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
