"""What the service works on the disk with; needs no connection to anything."""

from dataclasses import dataclass
from typing import Self

from runyard_workspace.adapters.branches import Branches
from runyard_workspace.adapters.clean_room import CleanRooms
from runyard_workspace.adapters.clone import Cloner
from runyard_workspace.adapters.diffs import DiffLimits, Diffs
from runyard_workspace.adapters.git import Git
from runyard_workspace.adapters.github import GitHub
from runyard_workspace.adapters.guard import Guard, Limits
from runyard_workspace.adapters.listing import Listing
from runyard_workspace.adapters.remotes import Remotes
from runyard_workspace.adapters.sandbox_commits import SandboxCommits
from runyard_workspace.adapters.sandboxes import Sandboxes
from runyard_workspace.adapters.session_commits import SessionCommits
from runyard_workspace.adapters.snapshots import Snapshots
from runyard_workspace.adapters.staging import Staging
from runyard_workspace.adapters.takeover import TakeLimits, Takeover
from runyard_workspace.adapters.weighing import SnapshotLimits
from runyard_workspace.adapters.worktrees import Worktrees
from runyard_workspace.domain.layout import Layout
from runyard_workspace.settings import MIB, Settings


@dataclass(frozen=True)
class Tools:
    """Git and the folders that it works in."""

    layout: Layout
    git: Git
    staging: Staging
    scratch: Staging
    cloner: Cloner
    worktrees: Worktrees
    branches: Branches
    sandboxes: Sandboxes
    commits: SandboxCommits
    session_commits: SessionCommits
    remotes: Remotes
    github: GitHub
    snapshots: Snapshots
    diffs: Diffs
    listing: Listing

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The tools as the settings want them."""
        layout = Layout(settings.workspaces_root.absolute())
        git = Git(executable=settings.git_executable, low_speed_seconds=settings.import_stall_seconds)
        staging, scratch = Staging(layout.staging), Staging(layout.scratch)
        branches, rooms = Branches(git), CleanRooms(git, scratch)
        limits = Limits(
            seconds=settings.import_timeout_seconds,
            size_bytes=settings.import_max_mib * MIB,
            entries=settings.import_max_files,
            spare_bytes=settings.import_spare_mib * MIB,
        )
        kept = SnapshotLimits(
            file_bytes=settings.checkpoint_file_mib * MIB, total_bytes=settings.checkpoint_total_mib * MIB
        )
        snapshots = Snapshots(git, scratch, kept)
        commits = SandboxCommits(git, branches, Takeover(git, rooms, TakeLimits()))
        return cls(
            layout=layout,
            git=git,
            staging=staging,
            scratch=scratch,
            cloner=Cloner(git, staging, limits, settings.import_schemes),
            worktrees=Worktrees(git),
            branches=branches,
            sandboxes=Sandboxes(git, branches, rooms, scratch),
            commits=commits,
            session_commits=SessionCommits(git, branches, snapshots, commits),
            remotes=Remotes(git, rooms, Guard(limits), settings.sync_timeout_seconds),
            github=GitHub(settings.github_api_url),
            snapshots=snapshots,
            diffs=Diffs(git, DiffLimits(patch_bytes=settings.diff_max_kib * 1024)),
            listing=Listing(git),
        )
