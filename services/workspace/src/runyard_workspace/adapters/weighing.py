"""What of the changed files goes into a snapshot: not what is huge, and only what Git can keep."""

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SnapshotLimits:
    """How much of what has changed is taken into one snapshot; the rest is left out and named."""

    file_bytes: int = 20 * 1024**2
    total_bytes: int = 512 * 1024**2
    files: int = 50_000
    listing_bytes: int = 32 * 1024**2
    seconds: float = 120.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Paths to take as they are on disk, to take out, and to leave as they were."""

    add: tuple[bytes, ...]
    remove: tuple[bytes, ...]
    skipped: tuple[bytes, ...]


def whole(listing: bytes) -> list[bytes]:
    """The complete entries of a `-z` listing, which may have been cut."""
    return [path for path in listing.split(b"\0")[:-1] if path]


def statuses(listing: bytes) -> tuple[set[bytes], set[bytes]]:
    """The deleted and the otherwise changed paths of `git diff-files -z --name-status`."""
    entries = iter(whole(listing))
    deleted: set[bytes] = set()
    modified: set[bytes] = set()
    for status in entries:
        path = next(entries, None)
        if path is not None:
            (deleted if status == b"D" else modified).add(path)
    return deleted - modified, modified


def weigh(
    root: Path, deleted: set[bytes], modified: set[bytes], untracked: Iterable[bytes], limits: SnapshotLimits
) -> Plan:
    """Decides about each path by what is on disk; small files go first, so that as many as possible are kept."""
    remove = set(deleted)
    skipped: list[bytes] = []
    candidates: list[tuple[int, bytes]] = []
    base = os.fsencode(root)
    for path in (*modified, *untracked):
        kind = _kind(os.path.join(base, path), tracked=path in modified)  # noqa: PTH118 - bytes
        if isinstance(kind, int):
            candidates.append((kind, path))
        elif kind == "gone":
            remove.add(path)
        else:
            skipped.append(path)
    total = 0
    add: list[bytes] = []
    for size, path in sorted(candidates):
        total += size
        fits = size <= limits.file_bytes and total <= limits.total_bytes and len(add) < limits.files
        (add if fits else skipped).append(path)
    return Plan(tuple(add), tuple(remove), tuple(sorted(skipped)))


def _kind(path: bytes, *, tracked: bool) -> int | str:
    """The size of what Git can keep, "gone" for what is no file any more, "skip" for what it cannot keep."""
    try:
        found = os.lstat(path)
    except OSError:
        return "gone"
    if stat.S_ISLNK(found.st_mode):
        return 0
    if stat.S_ISREG(found.st_mode):
        return found.st_size if os.access(path, os.R_OK) else "skip"
    if stat.S_ISDIR(found.st_mode) and not path.endswith(b"/"):
        # A tracked folder is a submodule, as long as it still is a repository.
        return 0 if os.path.exists(os.path.join(path, b".git")) else "gone"  # noqa: PTH110, PTH118 - bytes
    return "gone" if tracked else "skip"
