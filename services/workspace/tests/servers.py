"""Git servers that behave well, and others."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@contextmanager
def served(handler: Callable[..., BaseHTTPRequestHandler]) -> Generator[str]:
    """The address of a server whose requests are handled so."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    gate: threading.Event | None = None
    asked: threading.Event | None = None

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ARG002
        return

    def do_GET(self) -> None:
        if self.asked:
            self.asked.set()
        if self.gate:
            self.gate.wait(30)
        super().do_GET()


@contextmanager
def static_server(
    folder: Path, *, gate: threading.Event | None = None, asked: threading.Event | None = None
) -> Generator[str]:
    """Serves a folder: with `git update-server-info`, a Git server of the old kind.

    Answers are held back until `gate` is set; `asked` is set when the first request is there.
    """
    handler = type("Handler", (_Quiet,), {"gate": gate, "asked": asked})
    with served(partial(handler, directory=str(folder))) as address:
        yield address


@asynccontextmanager
async def raw_server(
    answer: bytes, *, then_hang: bool = False, forever: bytes = b"", asked: asyncio.Event | None = None
) -> AsyncGenerator[str]:
    """Answers every request with the same bytes; may then say nothing more, or the same for ever.

    `asked` is set when the first request is there.
    """
    clients: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        clients.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            if asked:
                asked.set()
            writer.write(answer)
            await writer.drain()
            if then_hang:
                await asyncio.Event().wait()
            while forever:
                writer.write(forever)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/org/repo.git"
    finally:
        server.close()
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)


def response(status: str, *headers: str, body: str = "") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", body]
    return "\r\n".join(lines).encode()
