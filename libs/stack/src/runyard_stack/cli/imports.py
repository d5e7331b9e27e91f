"""A workspace for a repository: one that is there already, or a new import with its progress shown."""

import time
from typing import Any

from rich.status import Status

from runyard_stack.cli.api import Api
from runyard_stack.cli.repository import Repository
from runyard_stack.cli.screen import err
from runyard_stack.errors import StackError

POLL_SECONDS = 0.5
READY = "ready"
IMPORTING = "importing"


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
    with err.status(f"Cloning {wanted.source_uri} ...") as status:
        body = {"source_type": wanted.source_type, "source_uri": wanted.source_uri}
        workspace = api.post("/api/workspaces/import", body)
        workspace = _wait(api, workspace, wanted, status)
    err.print(f"✓ Imported {workspace.get('display_name', wanted.source_uri)}", markup=False)
    return str(workspace["workspace_id"])


def is_current(workspace: dict[str, Any], wanted: Repository) -> bool:
    """Whether a workspace has the wanted repository, a local one at the commit that it has now."""
    if workspace.get("source_uri") != wanted.source_uri or workspace.get("status", READY) != READY:
        return False
    details: dict[str, Any] = workspace.get("metadata") or {}
    imported = details.get("head_commit")
    return wanted.head is None or imported is None or imported == wanted.head


def _wait(api: Api, workspace: dict[str, Any], wanted: Repository, status: Status) -> dict[str, Any]:
    began = time.monotonic()
    while workspace.get("status") == IMPORTING:
        status.update(f"Cloning {wanted.source_uri} ... {time.monotonic() - began:.0f} s")
        time.sleep(POLL_SECONDS)
        workspace = api.get(f"/api/workspaces/{workspace['workspace_id']}")
    if workspace.get("status", READY) != READY:
        reason = workspace.get("failure_message") or workspace.get("failure_reason") or "it failed"
        raise StackError(f"{wanted.source_uri} could not be imported: {reason}", "Nothing of it was kept.")
    return workspace
