"""Taking folders off the disk for good, whatever is in them."""

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

ATTEMPTS = 5


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
            shutil.rmtree(path, onerror=_open_up)
        except FileNotFoundError:
            return
        except OSError:
            if attempt == ATTEMPTS:
                raise
        else:
            return


def folder_size(path: Path) -> tuple[int, int]:
    """Bytes on disk and number of entries below a folder; what vanishes while looking counts as nothing."""
    size = entries = 0
    pending = [str(path)]
    while pending:
        try:
            with os.scandir(pending.pop()) as found:
                for entry in found:
                    entries += 1
                    try:
                        state = entry.stat(follow_symlinks=False)
                        # Blocks are counted late (delayed allocation), lengths leave out what small files waste.
                        size += max(state.st_size, state.st_blocks * 512)
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(entry.path)
                    except OSError:
                        continue
        except OSError:
            continue
    return size, entries


def _open_up(function: Callable[..., Any], path: str, error: Any) -> None:
    if isinstance(error[1], FileNotFoundError):
        return
    parent = Path(path).parent
    if not isinstance(error[1], PermissionError):
        raise error[1]
    parent.chmod(parent.stat().st_mode | stat.S_IRWXU)
    if function in (os.open, os.scandir, os.lstat):
        Path(path).chmod(stat.S_IRWXU)
        shutil.rmtree(path, onerror=_open_up)
    else:
        function(path)
