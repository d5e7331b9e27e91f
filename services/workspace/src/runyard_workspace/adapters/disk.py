"""Tells a full disk from whatever else goes wrong on it, whoever has met it: Git or this service."""

import errno
import os
from pathlib import Path

from runyard_workspace.adapters.git import GitError
from runyard_workspace.domain.failures import says_full

FULL = "The disk that the session's files are on is full."
_NOTHING_LEFT = 64 * 1024
"""Bytes. Of a file that it could not write, Git does not always say why."""


def is_full(error: GitError | OSError, where: Path) -> bool:
    """Whether this happened because there is no room left at a place."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return says_full(error.stderr) or _room(where) < _NOTHING_LEFT


def _room(where: Path) -> int:
    try:
        found = os.statvfs(where)
    except OSError:
        return _NOTHING_LEFT
    return found.f_bavail * found.f_frsize
