"""An agent that swaps files for links while they are read leads nothing in, and nothing out."""

import asyncio
import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from runyard_workspace.adapters.git import GitError
from runyard_workspace.adapters.mirror import Mirror, Mirrored
from runyard_workspace.adapters.tree import Tree

from .conftest import git
from .desks import Desk, desk

__all__ = ["desk"]

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
