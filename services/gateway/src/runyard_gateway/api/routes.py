"""All routes of the gateway, and how the failures of what lies behind it are told."""

from fastapi import FastAPI
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.requests import HTTPConnection
from starlette.responses import Response

from runyard_chassis import Unavailable, get_logger, problem_response
from runyard_events.errors import LogUnavailable
from runyard_gateway.api import (
    agents,
    approvals,
    container_webhooks,
    containers,
    credentials,
    dashboard,
    files,
    outputs,
    previews,
    remotes,
    runs,
    sessions,
    sockets,
    teams,
    workspaces,
)

ROUTERS = (
    workspaces.router,
    sessions.router,
    containers.router,
    container_webhooks.router,
    container_webhooks.token_router,
    teams.router,
    credentials.router,
    remotes.router,
    agents.router,
    runs.router,
    approvals.router,
    files.router,
    previews.router,
    outputs.router,
    dashboard.router,
    sockets.router,
)
_log = get_logger(__name__)


# Connections refused or lost, too many of them, and a server that starts or stops.
_AWAY_STATES = ("08", "53", "57")


def install_error_handlers(app: FastAPI) -> None:
    """503 while the event log or the database is away: try again."""
    app.add_exception_handler(LogUnavailable, _log_away)
    for kind in (DBAPIError, PoolTimeout, OSError):
        app.add_exception_handler(kind, _database_away)


async def _log_away(_: HTTPConnection, error: Exception) -> Response:
    return _away("event log", error)


async def _database_away(_: HTTPConnection, error: Exception) -> Response:
    if isinstance(error, DBAPIError) and not _is_away(error):
        raise error
    return _away("database", error)


def _is_away(error: DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None) or ""
    is_lost = error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
    return is_lost or state.startswith(_AWAY_STATES)


def _away(what: str, error: Exception) -> Response:
    _log.warning("gateway.dependency_away", dependency=what, error=type(error).__name__)
    problem = Unavailable(f"The {what} does not answer.", type=f"{what.replace(' ', '-')}-unavailable")
    return problem_response(problem.with_headers(Retry_After="1"))
