"""Whom files belong to: a container that does not run as we do must be able to write what it is given."""

import contextlib
import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from runyard_workspace.adapters.tree import FOLDER

MOST_DEPTH = 256
"""Each level keeps a folder open; no project is nested like this."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A user and a group by their numbers."""

    uid: int
    gid: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `uid:gid`.

        Raises:
            ValueError: it is not two numbers.
        """
        uid, _, gid = text.partition(":")
        return cls(int(uid), int(gid))

    @classmethod
    def ourselves(cls) -> Self:
        """Whom the files belong to that this service makes."""
        return cls(os.geteuid(), os.getegid())


def give(path: Path, owner: Owner) -> int:
    """Gives a tree to an owner and follows no link; returns how many of its entries were somebody else's.

    What vanishes meanwhile is passed over.

    Raises:
        PermissionError: something is somebody else's, and this account may not give it away.
        OSError: or its folders are nested too deeply.
    """
    changed = int(_give_entry(str(path), None, owner))
    with contextlib.suppress(NotADirectoryError):
        return changed + _give_all(os.open(path, FOLDER), owner, MOST_DEPTH)
    return changed


def _give_all(folder: int, owner: Owner, deeper: int) -> int:
    """What is in an open folder, which is closed afterwards."""
    try:
        if not deeper:
            raise OSError(errno.ELOOP, f"Folders are nested more than {MOST_DEPTH} deep")
        changed = 0
        with os.scandir(folder) as found:
            entries = list(found)
        for entry in entries:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                changed += _give_entry(entry.name, folder, owner)
                if entry.is_dir(follow_symlinks=False):
                    changed += _give_all(os.open(entry.name, FOLDER, dir_fd=folder), owner, deeper - 1)
        return changed
    finally:
        os.close(folder)


def _give_entry(name: str, at: int | None, owner: Owner) -> bool:
    with contextlib.suppress(FileNotFoundError):
        found = os.stat(name, dir_fd=at, follow_symlinks=False)
        if (found.st_uid, found.st_gid) != (owner.uid, owner.gid):
            os.chown(name, owner.uid, owner.gid, dir_fd=at, follow_symlinks=False)
            return True
    return False
