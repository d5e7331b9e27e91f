"""The files of a worktree as a sorted list, read in pages."""

import asyncio
from bisect import bisect_right
from dataclasses import dataclass

from runyard_workspace.adapters.git import Git
from runyard_workspace.adapters.place import Place
from runyard_workspace.adapters.tree import Kind, Tree
from runyard_workspace.domain.paths import has_control_characters

LISTING_BYTES = 64 * 1024**2


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a list. `addressable` is False where the name is no plain text: no URL can name it."""

    path: str
    kind: Kind
    size: int
    addressable: bool = True


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list. `next_after` continues it; `truncated`: the tree has more than can be listed."""

    entries: list[Entry]
    next_after: str | None
    truncated: bool


class Listing:
    """Lists what Git tracks and what it could track; ignored files only when they are asked for."""

    def __init__(self, git: Git, *, seconds: float = 30.0) -> None:
        self._git = git
        self._seconds = seconds

    async def page(
        self, at: Place, tree: Tree, *, folder: tuple[str, ...], ignored: bool, after: str | None, limit: int
    ) -> Page:
        """Up to `limit` files below `folder`, in the order of their bytes, after the path `after`.

        Raises:
            GitError: Git cannot read the worktree.
        """
        wanted = ("--", "/".join(folder)) if folder else ()
        excludes = () if ignored else ("--exclude-standard",)
        raw = await self._git.output(
            "ls-files", "-z", "--cached", "--others", *excludes, *wanted,
            at=at, limit=LISTING_BYTES, timeout=self._seconds,
        )  # fmt: skip
        return await asyncio.to_thread(_page, raw, tree, after, limit)


def _page(raw: bytes, tree: Tree, after: str | None, limit: int) -> Page:
    # A conflicted file is listed once per side; the last entry may have been cut.
    paths = sorted(set(raw.split(b"\0")[:-1]))
    start = bisect_right(paths, after.encode(errors="surrogateescape")) if after else 0
    entries: list[Entry] = []
    position = start
    while position < len(paths) and len(entries) < limit:
        entry = _entry(paths[position], tree)
        if entry is not None:
            entries.append(entry)
        position += 1
    more = position < len(paths)
    last = paths[position - 1].decode(errors="surrogateescape") if more and position else None
    return Page(entries, last, truncated=len(raw) > LISTING_BYTES)


def _entry(path: bytes, tree: Tree) -> Entry | None:
    name = path.rstrip(b"/")
    text = name.decode(errors="surrogateescape")
    found = tree.kind(tuple(text.split("/")))
    if found is None:
        return None  # tracked, but deleted from the worktree
    kind, size = found
    shown = name.decode(errors="backslashreplace")
    addressable = shown == text and not has_control_characters(text)
    return Entry(shown, kind, size if kind == "file" else 0, addressable)
