"""The HTTP app that every service starts from."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection
from starlette.types import Scope

from runyard_chassis import tracing
from runyard_chassis.auth import Tokens
from runyard_chassis.errors import install_problem_handlers, problem_responses, problem_schemas
from runyard_chassis.health import Check, Detail, health_router
from runyard_chassis.metrics import HttpMetrics, new_registry
from runyard_chassis.middleware import BodyLimit, EndStreams, RequestContext
from runyard_chassis.settings import ServiceSettings

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Any]]


class ServiceApp(FastAPI):
    """FastAPI whose OpenAPI document also describes the problem shape."""

    def openapi(self) -> dict[str, Any]:
        """The document, with the schema of problems among its components."""
        if self.openapi_schema is None:
            document = super().openapi()
            document.setdefault("components", {}).setdefault("schemas", {}).update(problem_schemas())
        return super().openapi()


def create_app(
    service: str,
    *,
    settings: ServiceSettings | None = None,
    ready: Mapping[str, Check] | None = None,
    details: Mapping[str, Detail] | None = None,
    lifespan: Lifespan | None = None,
    tokens: Tokens | None = None,
    description: str = "",
    max_body_bytes: int | None = None,
    special_body_bytes: Callable[[Scope], int | None] = lambda _: None,
    check_timeout: float = 2.0,
) -> FastAPI:
    """An app with `/health`, `/ready`, `/metrics`, problems, request ids, a body limit and quick stops.

    `ready` names the checks behind `/ready`, `details` what it shows besides; `tokens` (by default the
    users' tokens under `settings.jwt_secret_key`) is what `CallerDep` verifies with. On `app.state`:
    `tokens`, `metrics` (the app's own CollectorRegistry, for the service's metrics), `stopping` (an Event set
    when the service stops; event streams are ended by it) and `tracer_provider`.
    """
    settings = settings or ServiceSettings()
    package_version = _version_of(service)
    registry = new_registry(service, package_version)
    stopping = asyncio.Event()
    provider = tracing.configure(service, settings.otel_exporter_otlp_endpoint)
    app = ServiceApp(
        title=f"Runyard {service}",
        version=package_version,
        description=description,
        lifespan=lifespan,
        responses=problem_responses(),
        middleware=[
            Middleware(RequestContext, service=service, metrics=HttpMetrics(registry)),
            Middleware(BodyLimit, max_bytes=max_body_bytes or settings.max_body_bytes, special=special_body_bytes),
            Middleware(EndStreams, stopping=stopping),
        ],
        telemetry={
            "tracer_provider": provider,
            "tracing": provider is not None,
            "metrics": False,
            "logs": False,
        },
    )
    app.state.tokens = tokens or Tokens(settings.jwt_secret_key)
    app.state.metrics = registry
    app.state.stopping = stopping
    app.state.tracer_provider = provider
    install_problem_handlers(app)
    app.include_router(health_router(ready or {}, registry, check_timeout=check_timeout, details=details))
    return app


def stopping_of(connection: HTTPConnection) -> asyncio.Event:
    """The event that is set when the service stops; for loops of one's own (WebSockets)."""
    event = connection.app.state.stopping
    if not isinstance(event, asyncio.Event):
        raise TypeError("the app was not made by create_app()")
    return event


def _version_of(service: str) -> str:
    try:
        return version(f"runyard-{service}")
    except PackageNotFoundError:
        return "0"
