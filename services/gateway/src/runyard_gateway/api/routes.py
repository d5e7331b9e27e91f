"""All routes of the gateway, and how the failures of what lies behind it are told."""

from fastapi import FastAPI
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.requests import HTTPConnection
from starlette.responses import Response

from runyard_chassis import Unavailable, get_logger, problem_response
from runyard_events.errors import LogUnavailable
from runyard_gateway.api import dashboard, files, outputs, runs, sessions, sockets, workspaces

ROUTERS = (
    workspaces.router,
    sessions.router,
    runs.router,
    files.router,
    outputs.router,
    dashboard.router,
    sockets.router,
)
_log = get_logger(__name__)


def install_error_handlers(app: FastAPI) -> None:
    """503 while the event log or the database is away: try again."""
    for kind in (LogUnavailable, OperationalError, InterfaceError, PoolTimeout, ConnectionError):
        app.add_exception_handler(kind, _away)


async def _away(_: HTTPConnection, error: Exception) -> Response:
    what = "event log" if isinstance(error, LogUnavailable) else "database"
    _log.warning("gateway.dependency_away", dependency=what, error=type(error).__name__)
    problem = Unavailable(f"The {what} does not answer.", type=f"{what.replace(' ', '-')}-unavailable")
    return problem_response(problem.with_headers(Retry_After="1"))
