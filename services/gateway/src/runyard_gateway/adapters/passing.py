"""Requests that another service answers: they go there with the caller's token, bodies streamed both ways."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from starlette.requests import Request
from starlette.responses import StreamingResponse
from yarl import URL

from runyard_chassis import Caller, TimedOut, Unavailable

_ASKED = ("accept", "content-type", "content-length", "if-match", "if-none-match", "range", "x-request-id")
_TOLD = (
    "cache-control",
    "content-type",
    "content-length",
    "content-range",
    "accept-ranges",
    "etag",
    "last-modified",
    "x-runyard-truncated",
)
_PIECE = 64 * 1024
_PATIENT = aiohttp.ClientTimeout(total=None, connect=2, sock_read=30)
_ENDLESS = aiohttp.ClientTimeout(total=None, connect=2, sock_read=None)
_HEARTBEAT = b": heartbeat\n\n"


class ServiceBehind:
    """A client of one service (`workspace`, `orchestrator`); connections are kept and used again."""

    def __init__(self, name: str, address: str) -> None:
        self._name = name
        self._address = address.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Makes the client; nothing is connected yet."""
        self._session = aiohttp.ClientSession(
            timeout=_PATIENT,
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Content-Type"),
        )

    async def close(self) -> None:
        """Closes all connections."""
        if self._session is not None:
            await self._session.close()

    async def pass_on(
        self,
        request: Request,
        caller: Caller,
        path: str,
        extra: Mapping[str, str] | None = None,
        *,
        heartbeat_seconds: float | None = None,
    ) -> StreamingResponse:
        """Sends a request on to `path` with its own query (and `extra`), and answers what comes back.

        With `heartbeat_seconds` that is a stream of events, which may be silent for as long as it likes.

        Raises:
            Problem: 503 when the service is away, 504 when it does not answer in time.
        """
        if self._session is None:
            raise self._away()
        headers = {name: request.headers[name] for name in _ASKED if name in request.headers}
        try:
            answer = await self._session.request(
                request.method,
                self._url(request, path, extra or {}),
                headers={**headers, **caller.authorization},
                data=request.stream() if request.method == "PUT" else None,
                allow_redirects=False,
                timeout=_PATIENT if heartbeat_seconds is None else _ENDLESS,
            )
        except TimeoutError as error:
            detail = f"The {self._name} service did not answer in time."
            raise TimedOut(detail, type=f"{self._name}-timeout") from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._away() from error
        told = {name: answer.headers[name] for name in _TOLD if name in answer.headers}
        body = _body(answer) if heartbeat_seconds is None else _events(answer, heartbeat_seconds)
        return StreamingResponse(body, status_code=answer.status, headers=told)

    async def read(self, caller: Caller, path: str, query: Mapping[str, str] | None = None) -> Any:
        """What a service answers to a question of our own in the caller's name, as JSON.

        Raises:
            Problem: 503 when the service is away or refuses, 504 when it does not answer in time.
        """
        if self._session is None:
            raise self._away()
        url = URL(f"{self._address}{quote(path)}{'?' if query else ''}{urlencode(query or {})}", encoded=True)
        try:
            async with self._session.get(url, headers=caller.authorization, allow_redirects=False) as answer:
                if answer.status != HTTPStatus.OK:
                    raise self._away()
                return await answer.json()
        except TimeoutError as error:
            detail = f"The {self._name} service did not answer in time."
            raise TimedOut(detail, type=f"{self._name}-timeout") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._away() from error

    def _away(self) -> Unavailable:
        return Unavailable(f"The {self._name} service does not answer.", type=f"{self._name}-unavailable")

    def _url(self, request: Request, path: str, extra: Mapping[str, str]) -> URL:
        # The token goes in a header, where no log keeps it.
        given = [(name, value) for name, value in request.query_params.multi_items() if name != "token"]
        query = urlencode([*given, *extra.items()], errors="replace")
        # Encoded here and left alone: nothing below may resolve `..` or decode a percent sign.
        return URL(f"{self._address}{quote(path, errors='replace')}{'?' if query else ''}{query}", encoded=True)


async def _body(answer: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    try:
        async for piece in answer.content.iter_chunked(_PIECE):
            yield piece
    finally:
        answer.close()


async def _events(answer: aiohttp.ClientResponse, heartbeat_seconds: float) -> AsyncGenerator[bytes, None]:
    """The events as they come; a comment between two of them when none has come for a while."""
    is_between = True
    reading = asyncio.ensure_future(answer.content.read(_PIECE))
    try:
        while True:
            done, _ = await asyncio.wait({reading}, timeout=heartbeat_seconds)
            if done:
                piece = reading.result()
                if not piece:
                    return
                is_between = piece.endswith(b"\n\n")
                yield piece
                reading = asyncio.ensure_future(answer.content.read(_PIECE))
            elif is_between:
                yield _HEARTBEAT
    except (aiohttp.ClientError, OSError):
        return  # the service has gone: who follows comes back
    finally:
        reading.cancel()
        answer.close()
