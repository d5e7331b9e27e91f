"""Whom files belong to: a container that does not run as we do must be able to write what it is given."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self


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
    """
    changed = _give_entry(str(path), None, owner)
    for _, folders, files, at in os.fwalk(path, follow_symlinks=False):
        changed += sum(_give_entry(name, at, owner) for name in (*folders, *files))
    return changed


def _give_entry(name: str, at: int | None, owner: Owner) -> bool:
    with contextlib.suppress(FileNotFoundError):
        found = os.stat(name, dir_fd=at, follow_symlinks=False)
        if (found.st_uid, found.st_gid) != (owner.uid, owner.gid):
            os.chown(name, owner.uid, owner.gid, dir_fd=at, follow_symlinks=False)
            return True
    return False
