"""HTTP routes, called by the gateway with the caller's own token."""

from runyard_workspace.api.credentials import router as credentials
from runyard_workspace.api.diffs import router as diffs
from runyard_workspace.api.files import router as files
from runyard_workspace.api.sessions import FileLimits, SessionTrees

ROUTERS = (files, diffs, credentials)

__all__ = ["ROUTERS", "FileLimits", "SessionTrees"]
