"""What folders take on the disk, and giving them to a container's user."""

import os
from pathlib import Path

import pytest

from runyard_chassis.folders import remove_folder
from runyard_workspace.adapters.owners import MOST_DEPTH, Owner, give
from runyard_workspace.adapters.sizes import folder_size


def test_the_size_of_a_folder_counts_every_entry_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "tree" / "inner").mkdir(parents=True)
    (tmp_path / "tree" / "inner" / "file").write_bytes(b"x" * 10_000)
    (tmp_path / "outside").write_bytes(b"x" * 1_000_000)
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "outside")
    size, entries = folder_size(tmp_path / "tree")
    assert entries == 3
    assert 10_000 <= size < 100_000
    assert folder_size(tmp_path / "nothing") == (0, 0)


def test_folders_nested_without_end_are_given_to_nobody_and_hold_nothing_open(tmp_path: Path) -> None:
    here = Path.cwd()
    os.chdir(tmp_path)
    for _ in range(1500):
        Path("d").mkdir()
        os.chdir("d")
    os.chdir(here)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match=f"more than {MOST_DEPTH} deep"):
        give(tmp_path / "d", Owner.ourselves())
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    remove_folder(tmp_path / "d")
