"""A full disk is told from whatever else goes wrong on it."""

import errno
from pathlib import Path

import pytest

from runyard_workspace.adapters import disk
from runyard_workspace.adapters.git import GitError


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (GitError("write-tree", 128, "error: unable to write file ab/cd: No space left on device"), True),
        (GitError("write-tree", 128, "fatal: bad tree"), False),
    ],
)
def test_it_is_told_by_what_was_said(tmp_path: Path, error: GitError | OSError, *, full: bool) -> None:
    assert disk.is_full(error, tmp_path) is full


def test_where_git_does_not_say_why_the_room_that_is_left_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = GitError("read-tree", 128, "fatal: unable to write new index file")
    assert not disk.is_full(silent, tmp_path)
    assert not disk.is_full(silent, tmp_path / "gone")

    def little(where: Path) -> int:
        assert where == tmp_path
        return 4096

    monkeypatch.setattr(disk, "_room", little)
    assert disk.is_full(silent, tmp_path)
