"""Differences between two states of a session's files."""

from dataclasses import dataclass, replace

from runyard_workspace.adapters.git import Git, GitTimeout
from runyard_workspace.adapters.place import Place
from runyard_workspace.domain.diff import FileChange, bounded_patch, parse_changes

HARMLESS = ("--no-ext-diff", "--no-textconv", "--no-color", "-M", "-l1000", "--submodule=short")
PATCH = ("-p", "--unified=3", "--src-prefix=a/", "--dst-prefix=b/")


@dataclass(frozen=True, slots=True)
class DiffLimits:
    """How large a diff may be before its text is cut; the figures of files go on for longer."""

    patch_bytes: int = 2 * 1024**2
    listing_bytes: int = 8 * 1024**2
    file_bytes: int = 8 * 1024**2
    seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Diff:
    """A diff. `truncated` says that files are missing from the patch or from the list."""

    changes: list[FileChange]
    patch: str
    truncated: bool


class Diffs:
    """Compares trees of a repository."""

    def __init__(self, git: Git, limits: DiffLimits) -> None:
        self._git = git
        self._limits = limits

    async def changes(self, at: Place, old: str, new: str) -> list[FileChange]:
        """What happened to each file between two trees or commits."""
        changes, _ = await self._changes(at, old, new)
        return changes

    async def between(self, at: Place, old: str, new: str) -> Diff:
        """The whole difference between two trees or commits, as bounded text and as rows."""
        changes, cut = await self._changes(at, old, new)
        try:
            raw = await self._compare(at, *PATCH, old, new, limit=self._limits.patch_bytes)
        except GitTimeout:
            return Diff(changes, "", truncated=True)
        patch, short = bounded_patch(raw, self._limits.patch_bytes)
        return Diff(changes, patch, cut or short)

    async def _changes(self, at: Place, old: str, new: str) -> tuple[list[FileChange], bool]:
        limit = self._limits.listing_bytes
        raw = await self._compare(at, "-z", "--raw", "--numstat", old, new, limit=limit)
        return parse_changes(raw), len(raw) > limit

    async def _compare(self, at: Place, *args: str, limit: int) -> bytes:
        return await self._git.output(
            "diff-tree", "-r", *HARMLESS, *args,
            at=_without_index(at),
            settings={"core.bigFileThreshold": str(self._limits.file_bytes)},
            timeout=self._limits.seconds,
            limit=limit,
        )  # fmt: skip


def _without_index(at: Place) -> Place:
    """Trees are compared: neither a damaged index nor what lies in the worktree by now must matter."""
    return replace(at, git_dir=None, work_tree=None, index=at.common_dir / "no-index")
