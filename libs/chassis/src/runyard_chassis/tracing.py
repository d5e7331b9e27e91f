"""OpenTelemetry across HTTP and NATS: off, and only a few context lookups, unless an OTLP endpoint is configured.

The API package comes with FastAPI; the SDK and exporter come with `runyard-chassis[otel]` and are imported
only when `OTEL_EXPORTER_OTLP_ENDPOINT` is set. Each service has its own tracer, carried by a context
variable, so that several services in one process are still several services in a trace.
"""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

Kind = Literal["internal", "server", "client", "producer", "consumer"]

_tracer: ContextVar[trace.Tracer | None] = ContextVar("runyard_tracer", default=None)
_propagator = TraceContextTextMapPropagator()


def configure(service: str, endpoint: str | None) -> trace.TracerProvider | None:
    """A provider that exports this service's spans over OTLP/HTTP, or None when there is no endpoint.

    Raises:
        RuntimeError: an endpoint is set but `runyard-chassis[otel]` is not installed.
    """
    if not endpoint:
        return None
    try:
        from runyard_chassis.otlp import exporting_provider  # noqa: PLC0415
    except ImportError as error:
        raise RuntimeError(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set but the exporter is not installed: "
            "install runyard-chassis[otel], or unset the variable."
        ) from error
    return exporting_provider(service, endpoint)


def use(provider: trace.TracerProvider | None) -> None:
    """Makes `span()` in this context (a task and its children) belong to the provider's service."""
    _tracer.set(provider.get_tracer("runyard") if provider else None)


async def close(provider: trace.TracerProvider | None) -> None:
    """Sends the spans that are still held back."""
    shutdown = getattr(provider, "shutdown", None)
    if callable(shutdown):
        await asyncio.to_thread(shutdown)


@contextmanager
def span(name: str, *, kind: Kind = "internal", parent: str | None = None, **attributes: Any) -> Generator[None]:
    """A span around a piece of work; `parent` is a W3C traceparent that came with a command or an event."""
    tracer = _tracer.get()
    if tracer is None:
        yield
        return
    context = _propagator.extract({"traceparent": parent}) if parent else None
    present = {f"runyard.{key}": str(value) for key, value in attributes.items() if value is not None}
    with tracer.start_as_current_span(name, context=context, kind=trace.SpanKind[kind.upper()], attributes=present):
        yield


def traceparent() -> str | None:
    """The W3C traceparent of the current span, for a command or an envelope; None when tracing is off."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent")


def current_ids() -> tuple[str, str] | None:
    """Trace and span id in hex, for log lines."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)
