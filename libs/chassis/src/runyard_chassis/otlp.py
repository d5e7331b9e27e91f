"""The exporting side of tracing; imported only when an OTLP endpoint is configured."""

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def exporting_provider(service: str, endpoint: str) -> TracerProvider:
    """Spans of one service, sent in batches to `<endpoint>/v1/traces`."""
    provider = TracerProvider(resource=Resource.create({"service.name": f"runyard-{service}"}))
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider
