"""What the engine tells for as long as it lasts: statistics, logs, events. None of them holds a thread."""

import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import httpx

from runyard_sandbox.docker.engine import Engine, Json, Refused, labelled
from runyard_sandbox.provisioner import EngineAway, LogLine
from runyard_sandbox.timestamps import log_line

_CONNECT_SECONDS = 5.0
_HEADER_BYTES = 8
_LONGEST_LINE = 64 * 1024
_EVENTS = ("create", "start", "die", "oom", "destroy", "pause", "unpause", "health_status")


class Streams:
    """The engine's endless answers. Every one raises `EngineAway` when it breaks off, `Refused` when refused."""

    def __init__(self, engine: Engine) -> None:
        self._client = _client(engine)

    async def close(self) -> None:
        """Ends all of them."""
        await self._client.aclose()

    async def stats(self, name: str) -> AsyncIterator[Json]:
        """One reading a second; ends when the container has been removed."""
        async with self._open(f"/containers/{name}/stats", {"stream": "1"}) as answer:
            async for line in answer.aiter_lines():
                if line.strip():
                    yield json.loads(line)

    async def logs(self, name: str, *, follow: bool, tail: int) -> AsyncIterator[LogLine]:
        """Lines as they were printed."""
        params = {"stdout": "1", "stderr": "1", "timestamps": "1", "tail": str(tail), "follow": "1" if follow else "0"}
        async with self._open(f"/containers/{name}/logs", params) as answer:
            async for line in _lines(answer):
                yield line

    async def events(self, labels: Mapping[str, str]) -> AsyncIterator[Json]:
        """What happens to containers that carry the labels, from now on."""
        filters = {"type": ["container"], "label": labelled(labels), "event": list(_EVENTS)}
        async with self._open("/events", {"filters": json.dumps(filters)}) as answer:
            async for line in answer.aiter_lines():
                if line.strip():
                    yield json.loads(line)

    async def build(self, params: Mapping[str, str], context: AsyncIterator[bytes]) -> AsyncGenerator[Json]:
        """Builds an image of a tar; the build ends when nobody listens any more."""
        async with self._open("/build", params, context) as answer:
            async for line in answer.aiter_lines():
                if line.strip():
                    yield json.loads(line)

    @asynccontextmanager
    async def _open(
        self, path: str, params: Mapping[str, str], body: AsyncIterator[bytes] | None = None
    ) -> AsyncGenerator[httpx.Response]:
        headers = {} if body is None else {"Content-Type": "application/x-tar"}
        asked = self._client.stream(
            "GET" if body is None else "POST", path, params=dict(params), content=body, headers=headers
        )
        try:
            async with asked as answer:
                if answer.is_error:
                    said = (await answer.aread()).decode(errors="replace")
                    raise Refused(answer.status_code, said)
                yield answer
        except httpx.HTTPError as error:
            raise EngineAway(f"the Docker engine has broken off: {type(error).__name__}") from None


async def _lines(answer: httpx.Response) -> AsyncIterator[LogLine]:
    """The engine sends frames of both streams; a line may come in several, and a frame in several chunks."""
    held = b""
    unended: dict[int, bytes] = {1: b"", 2: b""}
    async for chunk in answer.aiter_raw():
        held += chunk
        while len(held) >= _HEADER_BYTES:
            length = int.from_bytes(held[4:_HEADER_BYTES], "big")
            if len(held) < _HEADER_BYTES + length:
                break
            which, frame = held[0], held[_HEADER_BYTES : _HEADER_BYTES + length]
            held = held[_HEADER_BYTES + length :]
            *whole, rest = (unended.get(which, b"") + frame).split(b"\n")
            unended[which] = rest[-_LONGEST_LINE:]
            for line in whole:
                yield _line(which, line)
    for which, rest in unended.items():
        if rest:
            yield _line(which, rest)


def _line(which: int, data: bytes) -> LogLine:
    stream: Literal["stdout", "stderr"] = "stderr" if which == 2 else "stdout"  # noqa: PLR2004 (the engine's number)
    line = log_line(data.decode(errors="replace").rstrip("\r"))
    return LogLine(line.at, line.text, stream)


def _client(engine: Engine) -> httpx.AsyncClient:
    """At the same engine as the SDK's. Without a version in the path the engine takes its newest."""
    scheme, _, rest = engine.base_url.partition("://")
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=4)
    timeout = httpx.Timeout(None, connect=_CONNECT_SECONDS)
    if scheme in {"unix", "http+unix"}:
        path = "/" + rest.lstrip("/")
        transport = httpx.AsyncHTTPTransport(uds=path, limits=limits)
        return httpx.AsyncClient(transport=transport, base_url="http://docker", timeout=timeout)
    if scheme not in {"tcp", "http", "https"}:
        raise EngineAway(f"an engine at {scheme}:// is not supported; use a Unix socket or TCP")
    context = _context(engine.tls)
    address = f"{'https' if context else 'http'}://{rest}"
    transport = httpx.AsyncHTTPTransport(verify=context or False, limits=limits)
    return httpx.AsyncClient(transport=transport, base_url=address, timeout=timeout)


def _context(tls: Any) -> ssl.SSLContext | None:
    """The engine's certificate authority and our certificate, as the SDK was told them."""
    if not tls:
        return None
    context = ssl.create_default_context(cafile=str(Path(tls.ca_cert)))
    if tls.cert:
        context.load_cert_chain(*tls.cert)
    return context
