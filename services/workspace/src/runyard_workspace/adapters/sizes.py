"""How much folders take on the disk."""

import os
from pathlib import Path


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
