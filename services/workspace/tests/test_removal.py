"""Folders are removed whatever is in them, by a service that is not root."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from runyard_workspace.adapters.removal import folder_size, remove_folder

NOBODY = 65534

CLOSED = {"read-only": 0o500, "no-entry": 0o000, "blind": 0o400, "deep/er": 0o500}


def close_and_remove(root: Path) -> bool:
    for name, mode in CLOSED.items():
        (root / name / "inner").mkdir(parents=True)
        (root / name / "inner" / "file").write_text("x")
        (root / name / "inner").chmod(mode)
        (root / name).chmod(mode)
    (root / "deep").chmod(0o500)
    remove_folder(root)
    return not root.exists()


def as_nobody(work: Callable[[], bool]) -> bool:
    """Does something in a child process to which permissions mean something."""
    child = os.fork()
    if child == 0:
        try:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    return os.waitpid(child, 0)[1] == 0


def test_folders_without_permissions_are_opened_up_and_removed() -> None:
    with tempfile.TemporaryDirectory() as folder:
        if os.getuid() != 0:
            assert close_and_remove(Path(folder) / "tree")
            return
        os.chown(folder, NOBODY, NOBODY)
        assert as_nobody(lambda: close_and_remove(Path(folder) / "tree"))


def test_what_is_not_there_is_removed_already_and_a_link_is_removed_itself(tmp_path: Path) -> None:
    remove_folder(tmp_path / "nothing")
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    remove_folder(tmp_path / "link")
    assert (tmp_path / "kept").is_dir()
    assert not (tmp_path / "link").is_symlink()


def test_the_size_of_a_folder_counts_every_entry_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "tree" / "inner").mkdir(parents=True)
    (tmp_path / "tree" / "inner" / "file").write_bytes(b"x" * 10_000)
    (tmp_path / "outside").write_bytes(b"x" * 1_000_000)
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "outside")
    size, entries = folder_size(tmp_path / "tree")
    assert entries == 3
    assert 10_000 <= size < 100_000
    assert folder_size(tmp_path / "nothing") == (0, 0)
