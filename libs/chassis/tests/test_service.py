"""Serving: several apps in one loop, streams as they come, one graceful stop."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, WebSocket
from starlette.responses import StreamingResponse
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from runyard_chassis import PortTakenError, Service, StartFailedError, create_app, serve
from runyard_stack.embedded.ports import free_port

HOST = "127.0.0.1"
GRACE = 20
"""Seconds that a stop leaves to what does not end by itself. What does is given half of it."""


def service(name: str, app: FastAPI) -> Service:
    return Service(name, app, HOST, free_port(), shutdown_grace_seconds=GRACE)


@asynccontextmanager
async def serving(*services: Service, stops_first: str | None = None) -> AsyncGenerator[asyncio.Event]:
    """Serves while the block runs; the stop event that it yields may be set earlier."""
    stop, ready = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(serve(services, stop, stops_first=stops_first, on_ready=ready.set))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    try:
        yield stop
    finally:
        stop.set()
        await task


def streaming_app(go_on: asyncio.Event, closed: asyncio.Event | None = None) -> FastAPI:
    """An app whose stream sends one event, then waits to be told to send the next."""
    app = create_app("gateway")

    async def events() -> AsyncIterator[bytes]:
        try:
            yield b": connected\n\n"
            await go_on.wait()
            yield b"data: 1\n\n"
            await asyncio.Event().wait()
        finally:
            if closed is not None:
                closed.set()

    @app.get("/events")
    async def stream() -> StreamingResponse:
        return StreamingResponse(events(), media_type="text/event-stream")

    return app


async def test_several_services_answer_in_one_loop() -> None:
    one, two = service("one", create_app("one")), service("two", create_app("two"))
    async with serving(one, two), httpx.AsyncClient() as client:
        for each in (one, two):
            assert (await client.get(f"{each.url}/health")).json() == {"status": "ok"}


async def test_a_stream_s_pieces_arrive_when_they_are_sent() -> None:
    go_on = asyncio.Event()
    gateway = service("gateway", streaming_app(go_on))
    async with serving(gateway), httpx.AsyncClient() as client:
        async with client.stream("GET", f"{gateway.url}/events") as answer:
            pieces = answer.aiter_bytes()
            assert await anext(pieces) == b": connected\n\n"
            go_on.set()
            assert await anext(pieces) == b"data: 1\n\n"
        assert "http_streams_open 0.0" in (await client.get(f"{gateway.url}/metrics")).text


async def test_a_stream_that_its_client_leaves_is_closed() -> None:
    closed = asyncio.Event()
    gateway = service("gateway", streaming_app(asyncio.Event(), closed))
    async with serving(gateway), httpx.AsyncClient() as client:
        async with client.stream("GET", f"{gateway.url}/events") as answer:
            await anext(answer.aiter_bytes())
        await asyncio.wait_for(closed.wait(), 20)


async def test_a_stop_ends_open_streams_cleanly_and_at_once() -> None:
    closed = asyncio.Event()
    gateway = service("gateway", streaming_app(asyncio.Event(), closed))
    async with serving(gateway) as stop, httpx.AsyncClient() as client:
        async with client.stream("GET", f"{gateway.url}/events") as answer:
            pieces = answer.aiter_bytes()
            await anext(pieces)
            stop.set()
            async with asyncio.timeout(GRACE / 2):
                # A connection that is cut would raise RemoteProtocolError here.
                assert [piece async for piece in pieces] == []
        assert closed.is_set()


async def test_one_that_stops_first_has_ended_before_the_others_are_asked_to() -> None:
    needed = service("needed", create_app("needed"))
    answers: list[int] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        yield
        async with httpx.AsyncClient() as client:
            answers.append((await client.get(f"{needed.url}/health")).status_code)

    first = service("first", create_app("first", lifespan=lifespan))
    async with serving(needed, first, stops_first="first"):
        pass
    assert answers == [200]


async def test_a_stop_closes_open_websockets_as_a_restart() -> None:
    app = create_app("gateway")

    @app.websocket("/ws")
    async def ws(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("hello")
        await asyncio.Event().wait()

    gateway = service("gateway", app)
    async with serving(gateway) as stop, connect(f"ws://{HOST}:{gateway.port}/ws") as client:
        assert await client.recv() == "hello"
        stop.set()
        async with asyncio.timeout(GRACE / 2):
            with pytest.raises(ConnectionClosed) as caught:
                await client.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1012


async def test_a_stop_lets_a_running_request_finish() -> None:
    app, began, finish = create_app("x"), asyncio.Event(), asyncio.Event()

    @app.get("/slow")
    async def slow() -> str:
        began.set()
        await finish.wait()
        return "done"

    one = service("x", app)
    async with serving(one) as stop, httpx.AsyncClient() as client:
        asking = asyncio.create_task(client.get(f"{one.url}/slow"))
        await began.wait()
        stop.set()
        finish.set()
        assert (await asking).json() == "done"


async def test_a_request_that_a_stop_does_not_wait_for_is_told_to_come_again() -> None:
    app, begun = create_app("one"), asyncio.Event()

    @app.get("/endless")
    async def endless() -> None:
        begun.set()
        await asyncio.Event().wait()

    one = Service("one", app, HOST, free_port(), shutdown_grace_seconds=1)
    async with serving(one) as stop, httpx.AsyncClient() as client:
        waiting = asyncio.create_task(client.get(f"{one.url}/endless", timeout=30))
        await begun.wait()
        stop.set()
        answer = await waiting
    assert (answer.status_code, answer.json()["type"]) == (503, "service-stopping")
    assert answer.headers["Retry-After"] == "1"


async def test_lifespans_are_closed_at_a_stop() -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        seen.append("opened")
        yield
        seen.append("closed")

    async with serving(service("x", create_app("x", lifespan=lifespan))):
        assert seen == ["opened"]
    assert seen == ["opened", "closed"]


async def test_a_taken_port_is_named_with_the_remedy_and_nothing_starts() -> None:
    started: list[str] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        started.append("x")
        yield

    first = service("first", create_app("first", lifespan=lifespan))
    second = service("second", create_app("second"))
    with socket.socket() as other:
        other.bind((HOST, second.port))
        other.listen()
        with pytest.raises(PortTakenError, match=rf"second cannot listen on {HOST}:{second.port}.*RUNYARD_PORT_BASE"):
            await serve([first, second])
    assert started == []


async def test_a_service_that_cannot_start_stops_the_others() -> None:
    closed = asyncio.Event()

    @asynccontextmanager
    async def fine(_: FastAPI) -> AsyncGenerator[None]:
        yield
        closed.set()

    @asynccontextmanager
    async def broken(_: FastAPI) -> AsyncGenerator[None]:
        raise ConnectionError("no database")
        yield

    good, bad = create_app("good", lifespan=fine), create_app("bad", lifespan=broken)
    with pytest.raises(StartFailedError, match="bad did not start"):
        await serve([service("good", good), service("bad", bad)])
    assert closed.is_set()


PROGRAM = """
    import sys
    from contextlib import asynccontextmanager
    from runyard_chassis import Service, ServiceSettings, create_app, get_logger, run_service

    class Settings(ServiceSettings):
        port: int = 0

    def build(settings: Settings) -> Service:
        @asynccontextmanager
        async def lifespan(app):
            get_logger("demo").info("demo.started", run_id="r1")
            yield
            get_logger("demo").info("demo.stopped")

        return Service("demo", create_app("demo", settings=settings, lifespan=lifespan), settings.host,
        settings.port)

    run_service(build, Settings)
"""


def program(tmp_path: Path, **environment: str) -> "subprocess.Popen[str]":
    file = tmp_path / "demo.py"
    file.write_text(textwrap.dedent(PROGRAM))
    return subprocess.Popen(
        [sys.executable, str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_service_process_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    process = program(tmp_path)
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if "demo.started" in line:
            process.send_signal(number)
    assert process.wait(10) == 0
    assert any("demo.stopped" in line for line in lines)
    assert not any("Traceback" in line for line in lines)


def test_a_service_process_whose_port_is_taken_says_so(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        process = program(tmp_path, PORT=str(port))
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    assert f"demo cannot listen on {HOST}:{port}" in output
    assert "Traceback" not in output


def test_a_service_process_with_wrong_settings_says_which(tmp_path: Path) -> None:
    process = program(tmp_path, ENVIRONMENT="production", JWT_SECRET_KEY="short", PORT="http")
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "PORT: Input should be a valid integer" in output
    assert "Traceback" not in output
