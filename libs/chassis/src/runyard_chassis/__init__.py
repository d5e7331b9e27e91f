"""What a Runyard service stands on: settings, logs, HTTP app, auth, database, commands, metrics, tracing.

Every public name can be imported from here; a module is loaded when one of its names is first asked for, so
that a command line which mints a token does not load a web framework and a database driver.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runyard_chassis.auth import AdminDep, Caller, CallerDep, StreamCallerDep, authenticate, bearer
    from runyard_chassis.commands import CommandServer, Handler
    from runyard_chassis.database import Database
    from runyard_chassis.errors import ProblemBody, problem_response
    from runyard_chassis.health import Check
    from runyard_chassis.http import create_app, stopping_of
    from runyard_chassis.log_connection import connect_service
    from runyard_chassis.logs import configure_logging, get_logger, log_context, redact_also
    from runyard_chassis.problems import (
        BadRequest,
        Conflict,
        Forbidden,
        InternalError,
        Invalid,
        NotFound,
        Problem,
        TimedOut,
        TooLarge,
        Unauthorized,
        Unavailable,
    )
    from runyard_chassis.replies import raise_for_problem, refusal
    from runyard_chassis.service import PortTakenError, Service, StartFailedError, run_service, run_until_signal, serve
    from runyard_chassis.settings import ServiceSettings, load_settings
    from runyard_chassis.tokens import API_AUDIENCE, LLM_AUDIENCE, Claims, TokenError, Tokens, derive_key

__all__ = [
    "API_AUDIENCE",
    "LLM_AUDIENCE",
    "AdminDep",
    "BadRequest",
    "Caller",
    "CallerDep",
    "Check",
    "Claims",
    "CommandServer",
    "Conflict",
    "Database",
    "Forbidden",
    "Handler",
    "InternalError",
    "Invalid",
    "NotFound",
    "PortTakenError",
    "Problem",
    "ProblemBody",
    "Service",
    "ServiceSettings",
    "StartFailedError",
    "StreamCallerDep",
    "TimedOut",
    "TokenError",
    "Tokens",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "authenticate",
    "bearer",
    "configure_logging",
    "connect_service",
    "create_app",
    "derive_key",
    "get_logger",
    "load_settings",
    "log_context",
    "problem_response",
    "raise_for_problem",
    "redact_also",
    "refusal",
    "run_service",
    "run_until_signal",
    "serve",
    "stopping_of",
]

_HOMES = {
    "auth": ("AdminDep", "Caller", "CallerDep", "StreamCallerDep", "authenticate", "bearer"),
    "commands": ("CommandServer", "Handler"),
    "replies": ("raise_for_problem", "refusal"),
    "database": ("Database",),
    "errors": ("ProblemBody", "problem_response"),
    "health": ("Check",),
    "http": ("create_app", "stopping_of"),
    "log_connection": ("connect_service",),
    "logs": ("configure_logging", "get_logger", "log_context", "redact_also"),
    "problems": (
        "BadRequest",
        "Conflict",
        "Forbidden",
        "InternalError",
        "Invalid",
        "NotFound",
        "Problem",
        "TimedOut",
        "TooLarge",
        "Unauthorized",
        "Unavailable",
    ),
    "service": ("PortTakenError", "Service", "StartFailedError", "run_service", "run_until_signal", "serve"),
    "settings": ("ServiceSettings", "load_settings"),
    "tokens": ("API_AUDIENCE", "Claims", "LLM_AUDIENCE", "TokenError", "Tokens", "derive_key"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """The public name, from the module where it lives."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
