"""Structured logs: one JSON object per line, ours and the libraries', with the ids of what is being worked on."""

import logging
import sys
from collections.abc import Generator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any, Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from runyard_chassis import tracing
from runyard_events.redact import Redactor

# Chatty at INFO about what our own events already say.
_QUIET = {
    "asyncio": logging.WARNING,
    "httpx": logging.WARNING,
    "uvicorn.access": logging.WARNING,
    "uvicorn.error": logging.WARNING,
}


def get_logger(name: str | None = None) -> FilteringBoundLogger:
    """A logger; `log.info("run.started", attempt=2)` writes one line."""
    return cast("FilteringBoundLogger", structlog.get_logger(*([name] if name else [])))


@contextmanager
def log_context(**ids: Any) -> Generator[None]:
    """Adds ids (`run_id=...`) to every line logged inside, also by libraries; None values are left out."""
    with structlog.contextvars.bound_contextvars(**{name: str(value) for name, value in ids.items() if value}):
        yield


def configure_logging(
    level: str = "INFO",
    *,
    format: Literal["auto", "json", "console"] = "auto",  # noqa: A002  # as in LOG_FORMAT
    redactor: Redactor | None = None,
    stream: TextIO | None = None,
) -> None:
    """Sends structlog and stdlib logging (uvicorn, nats, alembic ...) through one pipe to `stream` (stdout).

    Called once per process. `auto` is JSON unless the stream is a terminal. Without a `redactor` the rules of
    `runyard_events.redact` apply, so that a secret in a line never reaches the log.
    """
    out = stream or sys.stdout
    pretty = format == "console" or (format == "auto" and out.isatty())
    shared = _shared_processors(redactor or Redactor())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _renderer(pretty=pretty)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, quiet in _QUIET.items():
        logging.getLogger(name).setLevel(max(quiet, root.level))
    logging.captureWarnings(capture=True)


def _shared_processors(redactor: Redactor) -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(allow=()),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace_ids,
        structlog.processors.StackInfoRenderer(),
        # Before the redaction, and without local variables: they hold tokens, and take seconds to print.
        structlog.processors.format_exc_info,
        Redaction(redactor),
    ]


def _renderer(*, pretty: bool) -> Processor:
    if pretty:
        return structlog.dev.ConsoleRenderer(
            colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    return structlog.processors.JSONRenderer(ensure_ascii=False, default=str)


def _add_trace_ids(_logger: Any, _method: str, event: EventDict) -> EventDict:
    ids = tracing.current_ids()
    if ids is not None:
        event["trace_id"], event["span_id"] = ids
    return event


class Redaction:
    """The processor that keeps secrets out of every line, also those that it learns of later."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def learn(self, secret: str) -> None:
        """From now on this one too, by its fingerprint."""
        salt = self._redactor.salt
        known = Redactor.for_secrets([secret], salt).fingerprints
        if not known <= self._redactor.fingerprints:
            self._redactor = Redactor(salt, self._redactor.fingerprints | known)

    def __call__(self, _logger: Any, _method: str, event: EventDict) -> Mapping[str, Any]:
        kept: MutableMapping[str, Any] = {}
        for name, value in event.items():
            # structlog's own members (_record, exc_info) are no JSON and never printed as they are.
            opaque = name.startswith("_") or name in {"exc_info", "level", "timestamp"}
            kept[name] = value if opaque else self._redactor.clean_value(_json_value(value))
        return kept


def redact_also(secret: str) -> None:
    """Keeps a secret that came up at run time out of this process's log."""
    for processor in structlog.get_config()["processors"]:
        if isinstance(processor, Redaction):
            processor.learn(secret)


def _json_value(value: Any) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Mapping():
            return {str(k): _json_value(v) for k, v in cast("Mapping[Any, Any]", value).items()}
        case list() | tuple() | set() | frozenset():
            return [_json_value(item) for item in cast("list[Any]", value)]
        case _:
            return str(value)
