"""`cmd.workspace.detect-project`: what kind of project a session's or a preview's folder holds."""

from pathlib import Path

from runyard_chassis import Invalid, NotFound
from runyard_events import Command, Reply
from runyard_events.commands import DetectProject
from runyard_workspace.adapters.projects import Projects
from runyard_workspace.domain.layout import Layout, is_identifier
from runyard_workspace.histories import Histories


class ProjectDetection:
    """Answers for folders of the asking tenant only."""

    def __init__(self, *, histories: Histories, projects: Projects, layout: Layout) -> None:
        self._histories = histories
        self._projects = projects
        self._layout = layout

    async def detect(self, command: Command[DetectProject]) -> Reply:
        """The candidates, the likeliest first, and the folder that they are about."""
        folder = await self._folder(command.tenant_id, command.payload)
        try:
            found = await self._projects.detect(folder)
        except FileNotFoundError as error:
            raise NotFound("The files are not on this machine.", type="workspace-lost") from error
        return Reply(ok=True, result={"path": str(folder), "candidates": [one.shown() for one in found]})

    async def _folder(self, tenant: str, asked: DetectProject) -> Path:
        workspace, _ = await self._histories.workspace(tenant, asked.workspace_id)
        if workspace.imported is None:
            raise NotFound("There is no such workspace.", type="workspace-not-found")
        if asked.session_id is not None:
            files, _ = await self._histories.files(tenant, asked.session_id)
            opened = files.opened
            if opened is None or files.removed or opened.workspace_id != asked.workspace_id:
                raise NotFound("There is no such session.", type="session-not-found")
            return self._layout.worktree(asked.workspace_id, asked.session_id)
        if asked.preview_id is not None:
            if not is_identifier(asked.preview_id):
                raise Invalid("This cannot be the id of a preview.", type="preview-id")
            return self._layout.preview(asked.workspace_id, asked.preview_id)
        return self._layout.repository(asked.workspace_id)
