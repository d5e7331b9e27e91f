"""Copies of the files that have changed, for Git to read instead of the worktree.

Git looks at a name and then opens it. A container that goes on working could put a link there in between, and
Git would keep a file of the host in objects that the container can read. So the files are copied out of the
tree without following a link, and Git reads the copies. Nor is one followed among the copies: what was a link
when it was copied may be a folder by the time its files are.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from runyard_workspace.adapters.git_folder import GitFolder
from runyard_workspace.adapters.tree import Missing, Tree, TreeError

POINTER_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Mirrored:
    """Paths whose copies can be read, submodules and the commits that they stand at, and what cannot be had."""

    files: tuple[bytes, ...]
    submodules: tuple[tuple[bytes, str], ...]
    skipped: tuple[bytes, ...]


class Mirror:
    """Copies files of a worktree into an empty folder. `common`: the repository that submodules may be kept in."""

    def __init__(self, worktree: Path, folder: Path, common: Path) -> None:
        self._tree = Tree(worktree)
        self._worktree = worktree
        self._copies = Tree(folder)
        self._common = common

    def bring(self, paths: Iterable[bytes], limit: int) -> Mirrored:
        """Copies what these paths name, up to `limit` bytes together. What has gone meanwhile has no copy."""
        files: list[bytes] = []
        submodules: list[tuple[bytes, str]] = []
        skipped: list[bytes] = []
        for path in paths:
            parts = tuple(os.fsdecode(path).split("/"))
            try:
                found = self._tree.kind(parts)
                if found and found[0] == "directory":
                    commit = self._commit_of(parts)
                    (submodules.append((path, commit)) if commit else skipped.append(path))
                    continue
                limit -= self._copy(parts, found[0] if found else None, limit)
            except TreeError:
                skipped.append(path)
            else:
                files.append(path)
        return Mirrored(tuple(files), tuple(submodules), tuple(skipped))

    def _copy(self, parts: tuple[str, ...], kind: str | None, limit: int) -> int:
        if kind is None:
            return 0
        if kind == "symlink":
            self._copies.make_link(parts, self._tree.link(parts))
            return 0
        return self._tree.copy(parts, self._copies, limit)

    def _commit_of(self, parts: tuple[str, ...]) -> str | None:
        """The commit that a submodule stands at, if its repository is in the worktree or in ours."""
        git = GitFolder(self._worktree, (*parts, ".git"))
        found = self._tree.kind((*parts, ".git"))
        if found and found[0] == "file":
            text = self._tree.read((*parts, ".git"), limit=POINTER_BYTES).content.decode(errors="surrogateescape")
            named = self._worktree.joinpath(*parts, text.removeprefix("gitdir:").strip())
            place = Path(os.path.normpath(named))
            if not place.is_relative_to(self._common):
                return None
            git = GitFolder(self._common, place.relative_to(self._common).parts)
        try:
            return git.standing()
        except Missing:
            return None
