"""What a Runyard service stands on: settings, logs, HTTP app, auth check, database, commands, metrics, tracing."""

from runyard_chassis.auth import (
    API_AUDIENCE,
    LLM_AUDIENCE,
    AdminDep,
    Caller,
    CallerDep,
    Claims,
    StreamCallerDep,
    TokenError,
    Tokens,
    authenticate,
    bearer,
    derive_key,
)
from runyard_chassis.commands import CommandServer, Handler, raise_for_problem, refusal
from runyard_chassis.database import Database
from runyard_chassis.errors import ProblemBody, problem_response
from runyard_chassis.health import Check
from runyard_chassis.http import create_app, stopping_of
from runyard_chassis.logs import configure_logging, get_logger, log_context
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
from runyard_chassis.service import (
    PortTakenError,
    Service,
    StartFailedError,
    run_service,
    run_until_signal,
    serve,
)
from runyard_chassis.settings import ServiceSettings, load_settings

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
    "create_app",
    "derive_key",
    "get_logger",
    "load_settings",
    "log_context",
    "problem_response",
    "raise_for_problem",
    "refusal",
    "run_service",
    "run_until_signal",
    "serve",
    "stopping_of",
]
