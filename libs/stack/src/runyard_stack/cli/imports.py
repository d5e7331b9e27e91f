"""A workspace for a repository: one that is there already, or a new import with its progress shown."""

from typing import Any

from rich.status import Status

from runyard_stack.cli.api import Api
from runyard_stack.cli.follow import follow
from runyard_stack.cli.repository import Repository
from runyard_stack.cli.screen import err
from runyard_stack.errors import StackError

READY = "ready"
ENDS = frozenset({"workspace.imported", "workspace.import_failed"})


def import_repository(api: Api, wanted: Repository, *, fresh: bool = False) -> str:
    """The id of a workspace with the repository in it.

    Raises:
        StackError: it could not be cloned.
    """
    if wanted.changed:
        err.print(
            "Changes that are not committed stay with you: the agent works on a copy of the last commit.",
            style="yellow",
        )
    if not fresh:
        for workspace in api.pages("/api/workspaces", limit=200):
            if is_current(workspace, wanted):
                return str(workspace["workspace_id"])
    body = {"source_type": wanted.source_type, "source_uri": wanted.source_uri}
    asked = api.post("/api/workspaces/import?wait=false", body)
    workspace_id = str(asked["workspace_id"])
    with err.status(f"Cloning {wanted.source_uri} ...") as status:
        _follow_clone(api, workspace_id, wanted, status)
    workspace = api.get(f"/api/workspaces/{workspace_id}")
    err.print(f"✓ Imported {workspace.get('display_name', wanted.source_uri)}", markup=False)
    return workspace_id


def is_current(workspace: dict[str, Any], wanted: Repository) -> bool:
    """Whether a workspace has the wanted repository, a local one at the commit that it has now."""
    if workspace.get("source_uri") != wanted.source_uri or workspace.get("status", READY) != READY:
        return False
    imported = workspace.get("head_commit")
    return wanted.head is None or imported is None or imported == wanted.head


def _follow_clone(api: Api, workspace_id: str, wanted: Repository, status: Status) -> None:
    for event in follow(api, f"/api/workspaces/{workspace_id}/events", ENDS):
        payload: dict[str, Any] = event.get("payload") or {}
        match event.get("type"):
            case "workspace.import_progress":
                percent = payload.get("percent")
                phase = payload.get("message") or payload.get("phase")
                status.update(f"Cloning {wanted.source_uri}: {phase}" + (f" {percent}%" if percent is not None else ""))
            case "workspace.import_failed":
                message = payload.get("message") or payload.get("reason")
                raise StackError(f"{wanted.source_uri} could not be imported: {message}", "Nothing of it was kept.")
            case _:
                continue
