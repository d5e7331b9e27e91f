"""A session's worktree and the tools that look at it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runyard_workspace.adapters.diffs import DiffLimits, Diffs
from runyard_workspace.adapters.git import Git
from runyard_workspace.adapters.place import Place
from runyard_workspace.adapters.snapshots import Checkpoint, Snapshots
from runyard_workspace.adapters.staging import Staging
from runyard_workspace.adapters.weighing import SnapshotLimits
from runyard_workspace.adapters.worktrees import Worktrees, place_of
from runyard_workspace.domain.diff import FileChange

SESSION = "0f9bfb45-7d6b-5a3c-8b0a-3d6a2f4c1e11"
OTHER = "0f9bfb45-0000-5a3c-8b0a-3d6a2f4c1e11"
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass
class Desk:
    """A session's worktree and the tools that look at it."""

    repository: Path
    path: Path
    base: str
    at: Place
    snapshots: Snapshots
    diffs: Diffs
    worktrees: Worktrees
    branch: str
    scratch: Path

    async def keep(self, run: str = "r1", parent: str | None = None) -> Checkpoint:
        return await self.snapshots.checkpoint(
            self.at,
            ref=f"refs/runyard/sessions/{SESSION}/runs/{run}",
            parent=parent or self.base,
            message="Files",
            when=WHEN,
        )

    async def changes(self, kept: Checkpoint) -> dict[str, FileChange]:
        return {one.path: one for one in await self.diffs.changes(self.at, kept.parent, kept.commit)}


async def open_desk(repository: Path, folder: Path, limits: SnapshotLimits | None = None) -> Desk:
    tool = Git()
    worktrees = Worktrees(tool)
    opened = await worktrees.open(repository, folder / "worktrees" / SESSION, SESSION)
    return Desk(
        repository=repository,
        path=opened.path,
        base=opened.base_commit,
        at=place_of(repository, opened.path),
        snapshots=Snapshots(tool, Staging(folder / "scratch"), limits or SnapshotLimits()),
        diffs=Diffs(tool, DiffLimits()),
        worktrees=worktrees,
        branch=opened.branch,
        scratch=folder / "scratch",
    )


@pytest.fixture
async def desk(repository: Path, tmp_path: Path) -> Desk:
    return await open_desk(repository, tmp_path)
