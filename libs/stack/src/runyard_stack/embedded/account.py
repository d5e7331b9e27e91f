"""Running PostgreSQL when we are root: it refuses to, so it runs as an unprivileged user."""

import os
import pwd
import stat
from pathlib import Path

from runyard_stack.embedded.child import Account
from runyard_stack.embedded.errors import EmbeddedError

CANDIDATES = ("postgres", "nobody")
PASS_THROUGH = stat.S_IXOTH


def choose(data: Path) -> Account | None:
    """The account for PostgreSQL: None for ourselves, which is the answer unless we are root.

    A data folder that exists keeps its owner, so that a system user added later changes nothing.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise EmbeddedError(
        "PostgreSQL refuses to run as root and this machine has neither a `postgres` nor a `nobody` user.",
        "Start Runyard as an ordinary user, or point DATABASE_URL at a PostgreSQL of your own.",
    )


def let_pass(path: Path) -> list[Path]:
    """Let other users pass through (not list) every folder above `path`; the folders that were changed.

    Root's home and temporary folders are closed by default, and the unprivileged server has to reach its
    binaries and its data below them.
    """
    changed: list[Path] = []
    for folder in path.resolve().parents:
        mode = folder.stat().st_mode
        if not mode & PASS_THROUGH:
            folder.chmod(stat.S_IMODE(mode) | PASS_THROUGH)
            changed.append(folder)
    return changed
