"""Taking folders off the disk for good, whatever is in them and whoever still writes there.

What an agent leaves may be closed to everybody, nested deeper than a program can recurse or hold files open, and
may change while it is removed. So each name is looked up in an open folder and no link is followed, at most
`_DEPTH` folders are open at a time, and what lies deeper is moved up first.
"""

import os
import secrets
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

ATTEMPTS = 5
_DEPTH = 32
_ROUNDS = 100_000
_NAMED = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def remove_folder(path: Path) -> None:
    """Removes a folder with everything in it; a folder that is not there is fine.

    Folders without write permission (module caches) are opened up first, and a process that still
    writes into the tree only costs another attempt.

    Raises:
        OSError: it cannot be removed.
    """
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
        return
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _remove(path)
        except FileNotFoundError:
            return
        except OSError:
            if attempt == ATTEMPTS:
                raise
        else:
            return


def _remove(path: Path) -> None:
    parent = os.open(path.parent, _READ)
    try:
        with _entered(path.name, parent) as top:
            for _ in range(_ROUNDS):
                if not _empty(top, top, 1):
                    break
        os.rmdir(path.name, dir_fd=parent)
    finally:
        os.close(parent)


def _empty(folder: int, top: int, depth: int) -> bool:
    """Removes what is in a folder; whether something was moved to the top, which then has to be emptied again."""
    moved = False
    with os.scandir(folder) as found:
        entries = list(found)
    for entry in entries:
        try:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.name, dir_fd=folder)
                continue
            with _entered(entry.name, folder) as inner:
                if depth < _DEPTH:
                    moved |= _empty(inner, top, depth + 1)
            if depth < _DEPTH:
                os.rmdir(entry.name, dir_fd=folder)
            else:
                os.rename(entry.name, f".removed-{secrets.token_hex(8)}", src_dir_fd=folder, dst_dir_fd=top)
                moved = True
        except FileNotFoundError:
            continue
    return moved


@contextmanager
def _entered(name: str, parent: int) -> Generator[int]:
    """A folder, open to us: by its name first, since one that is closed cannot be read."""
    named = os.open(name, _NAMED, dir_fd=parent)
    try:
        itself = f"/proc/self/fd/{named}"
        mode = os.fstat(named).st_mode
        if mode & stat.S_IRWXU != stat.S_IRWXU and os.fstat(named).st_uid == os.geteuid():
            Path(itself).chmod(stat.S_IMODE(mode) | stat.S_IRWXU)
        folder = os.open(itself, _READ)
    finally:
        os.close(named)
    try:
        yield folder
    finally:
        os.close(folder)
