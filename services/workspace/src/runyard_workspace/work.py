"""What the service does, wired once: its handlers, and which of them carries out which command."""

from dataclasses import dataclass
from typing import Self

from runyard_chassis import CommandServer
from runyard_events import CommandBus
from runyard_events.commands import (
    DetectProject,
    FetchWorkspace,
    ImportWorkspace,
    OpenPreviewTree,
    OpenPullRequest,
    OpenWorktree,
    PrepareSandbox,
    PushSession,
    ReleaseSandbox,
    RemoveCredential,
    RemovePreviewTree,
    RemoveWorktree,
    SetCredential,
)
from runyard_workspace.adapters.projects import Projects
from runyard_workspace.handlers.checkpoints import Checkpoints
from runyard_workspace.handlers.credentials import Credentials
from runyard_workspace.handlers.imports import ImportRules, Imports
from runyard_workspace.handlers.previews import PreviewTrees
from runyard_workspace.handlers.projects import ProjectDetection
from runyard_workspace.handlers.pushes import Pushes
from runyard_workspace.handlers.sandboxes import SandboxGit
from runyard_workspace.handlers.syncs import Fetches, Origins
from runyard_workspace.handlers.worktrees import SessionFiles
from runyard_workspace.histories import Histories
from runyard_workspace.settings import Settings
from runyard_workspace.tools import Tools


@dataclass(frozen=True)
class Work:
    """The handlers of the service."""

    credentials: Credentials
    imports: Imports
    files: SessionFiles
    sandboxes: SandboxGit
    checkpoints: Checkpoints
    previews: PreviewTrees
    projects: ProjectDetection
    fetches: Fetches
    pushes: Pushes

    @classmethod
    def of(cls, settings: Settings, tools: Tools, histories: Histories, bus: CommandBus) -> Self:
        """The handlers, working with these tools."""
        layout = tools.layout
        rules = ImportRules(
            schemes=settings.import_schemes,
            local_roots=settings.local_roots,
            at_once=settings.imports_at_once,
            reply_seconds=settings.import_reply_seconds,
        )
        credentials = Credentials(histories=histories, key=settings.sealing_key)
        sandboxes = SandboxGit(histories=histories, sandboxes=tools.sandboxes, commits=tools.commits, layout=layout)
        origins = Origins(histories=histories, credentials=credentials, layout=layout, schemes=settings.import_schemes)
        return cls(
            credentials=credentials,
            imports=Imports(
                histories=histories, cloner=tools.cloner, credentials=credentials, layout=layout, bus=bus, rules=rules
            ),
            files=SessionFiles(histories=histories, worktrees=tools.worktrees, sandboxes=sandboxes, layout=layout),
            sandboxes=sandboxes,
            checkpoints=Checkpoints(
                histories=histories, snapshots=tools.snapshots, diffs=tools.diffs, sandboxes=sandboxes, layout=layout
            ),
            previews=PreviewTrees(
                histories=histories, worktrees=tools.worktrees, branches=tools.branches, layout=layout
            ),
            projects=ProjectDetection(histories=histories, projects=Projects(), layout=layout),
            fetches=Fetches(histories=histories, origins=origins, remotes=tools.remotes, layout=layout),
            pushes=Pushes(
                histories=histories,
                origins=origins,
                sandboxes=sandboxes,
                commits=tools.session_commits,
                branches=tools.branches,
                remotes=tools.remotes,
                github=tools.github,
                git=tools.git,
            ),
        )

    def register(self, server: CommandServer) -> None:
        """Gives each command its handler."""
        server.on(ImportWorkspace)(self.imports.handle)
        server.on(OpenWorktree)(self.files.open)
        server.on(RemoveWorktree)(self.files.remove)
        server.on(PrepareSandbox)(self.sandboxes.prepare)
        server.on(ReleaseSandbox)(self.sandboxes.release)
        server.on(OpenPreviewTree)(self.previews.open)
        server.on(RemovePreviewTree)(self.previews.remove)
        server.on(DetectProject)(self.projects.detect)
        server.on(SetCredential)(self.credentials.set)
        server.on(RemoveCredential)(self.credentials.remove)
        server.on(FetchWorkspace)(self.fetches.fetch)
        server.on(PushSession)(self.pushes.push)
        server.on(OpenPullRequest)(self.pushes.open_pull_request)
