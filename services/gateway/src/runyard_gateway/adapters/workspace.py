"""Files and diffs are the workspace service's: requests go there with the caller's token, bodies streamed both ways."""

from collections.abc import AsyncGenerator, Mapping
from urllib.parse import quote, urlencode

import aiohttp
from starlette.requests import Request
from starlette.responses import StreamingResponse
from yarl import URL

from runyard_chassis import Caller, TimedOut, Unavailable

_ASKED = ("accept", "content-type", "content-length", "if-match", "if-none-match", "range", "x-request-id")
_TOLD = (
    "content-type",
    "content-length",
    "content-range",
    "accept-ranges",
    "etag",
    "last-modified",
    "x-runyard-truncated",
)
_PIECE = 64 * 1024


class WorkspaceService:
    """A client of the workspace service; connections are kept and used again."""

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Makes the client; nothing is connected yet."""
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, connect=2, sock_read=30),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Content-Type"),
        )

    async def close(self) -> None:
        """Closes all connections."""
        if self._session is not None:
            await self._session.close()

    async def pass_on(
        self, request: Request, caller: Caller, path: str, extra: Mapping[str, str] | None = None
    ) -> StreamingResponse:
        """Sends a request on to `path` with its own query (and `extra`), and answers what comes back.

        Raises:
            Problem: 503 when the service is away, 504 when it does not answer in time.
        """
        if self._session is None:
            raise Unavailable("The workspace service is not connected.", type="workspace-unavailable")
        headers = {name: request.headers[name] for name in _ASKED if name in request.headers}
        try:
            answer = await self._session.request(
                request.method,
                self._url(request, path, extra or {}),
                headers={**headers, **caller.authorization},
                data=request.stream() if request.method == "PUT" else None,
                allow_redirects=False,
            )
        except TimeoutError as error:
            raise TimedOut("The workspace service did not answer in time.", type="workspace-timeout") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable("The workspace service does not answer.", type="workspace-unavailable") from error
        told = {name: answer.headers[name] for name in _TOLD if name in answer.headers}
        return StreamingResponse(_body(answer), status_code=answer.status, headers=told)

    def _url(self, request: Request, path: str, extra: Mapping[str, str]) -> URL:
        query = urlencode([*request.query_params.multi_items(), *extra.items()], errors="replace")
        # Encoded here and left alone: nothing below may resolve `..` or decode a percent sign.
        return URL(f"{self._address}{quote(path, errors='replace')}{'?' if query else ''}{query}", encoded=True)


async def _body(answer: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    try:
        async for piece in answer.content.iter_chunked(_PIECE):
            yield piece
    finally:
        answer.close()
