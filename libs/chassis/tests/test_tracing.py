"""Tracing: nothing at all by default, one trace across HTTP and commands when it is on."""

import asyncio
import contextvars
import subprocess
import sys
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response

from runyard_chassis import Service, ServiceSettings, create_app, serve, tracing
from runyard_stack.embedded.ports import free_port

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def test_without_an_endpoint_there_is_no_provider_and_no_exporter_is_imported() -> None:
    code = (
        "import sys; from runyard_chassis import create_app, ServiceSettings; create_app('x', "
        "settings=ServiceSettings()); "
        "print([m for m in sys.modules if m.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_a_tracer_a_span_is_nothing() -> None:
    with tracing.span("work", parent=PARENT):
        assert tracing.traceparent() is None
        assert tracing.current_ids() is None


def test_an_endpoint_without_the_exporter_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "runyard_chassis.otlp", None)
    with pytest.raises(RuntimeError, match=r"runyard-chassis\[otel\]"):
        tracing.configure("x", "http://127.0.0.1:4318")


def _recording() -> tuple[Any, Any]:
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    provider, exporter = sdk.TracerProvider(), memory.InMemorySpanExporter()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    return provider, exporter


def test_a_span_continues_the_trace_of_the_command_that_it_carries_out() -> None:
    provider, exporter = _recording()

    def work() -> str | None:
        tracing.use(provider)
        with tracing.span("orchestrator.request-run", kind="consumer", parent=PARENT, run_id="r1"):
            assert tracing.current_ids() is not None
            return tracing.traceparent()

    passed_on = contextvars.copy_context().run(work)
    (span,) = exporter.get_finished_spans()
    assert f"{span.context.trace_id:032x}" == TRACE
    assert dict(span.attributes) == {"runyard.run_id": "r1"}
    assert passed_on == f"00-{TRACE}-{span.context.span_id:016x}-01"


async def test_a_request_s_traceparent_reaches_the_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    provider, exporter = _recording()

    def configured(service: str, endpoint: str | None) -> Any:
        return provider if endpoint else None

    monkeypatch.setattr(tracing, "configure", configured)
    app: FastAPI = create_app("x", settings=ServiceSettings(otel_exporter_otlp_endpoint="http://unused"))
    seen: list[str | None] = []

    @app.get("/runs/{run}")
    async def run(run: str) -> None:
        await asyncio.sleep(0)
        seen.append(tracing.traceparent())

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        await client.get("/runs/1", headers={"traceparent": PARENT})
    assert seen[0] is not None
    assert seen[0].split("-")[1] == TRACE
    assert any(span.attributes.get("http.route") == "/runs/{run}" for span in exporter.get_finished_spans())


async def test_spans_are_sent_to_the_endpoint_when_a_service_stops() -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    received: asyncio.Queue[str] = asyncio.Queue()
    collector = FastAPI()

    @collector.post("/v1/traces")
    async def traces(request: Request) -> Response:
        await received.put(request.headers["content-type"])
        return Response()

    collector_service = Service("collector", collector, "127.0.0.1", free_port())
    settings = ServiceSettings(otel_exporter_otlp_endpoint=collector_service.url)
    traced = Service("traced", create_app("traced", settings=settings), "127.0.0.1", free_port())
    stop, stop_collector, up, collecting = (asyncio.Event() for _ in range(4))
    collector_task = asyncio.create_task(serve(collector_service, stop_collector, on_ready=collecting.set))
    await collecting.wait()
    task = asyncio.create_task(serve(traced, stop, on_ready=up.set))
    await up.wait()
    async with httpx.AsyncClient() as client:
        await client.get(f"{traced.url}/health")
    stop.set()
    await task
    assert await asyncio.wait_for(received.get(), 5) == "application/x-protobuf"
    stop_collector.set()
    await collector_task
