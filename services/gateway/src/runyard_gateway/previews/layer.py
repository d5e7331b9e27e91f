"""The layer before the API: requests to a preview's host never reach it."""

import asyncio
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import aiohttp
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from runyard_chassis import get_logger, problem_response
from runyard_chassis.problems import Problem
from runyard_events.database import DATABASE_FAULTS
from runyard_gateway.previews import cookies, pages
from runyard_gateway.previews.access import Access, Seen
from runyard_gateway.previews.addresses import OPEN_PATH, RESERVED, SHARE_PATH, PreviewAddresses
from runyard_gateway.previews.exchange import BodyTooLarge, Exchange, Limits, Silent, raw_path
from runyard_gateway.previews.headers import Visit, is_foreign, is_own_origin, text_headers
from runyard_gateway.previews.passes import expiry
from runyard_gateway.previews.sockets import Tunnel

_log = get_logger(__name__)
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_ON_ITS_WAY = frozenset({"requested", "prepared", "starting"})
_POLICY_VIOLATION = 1008
_TRY_AGAIN_LATER = 1013


@dataclass(frozen=True, slots=True)
class Proxy:
    """What serves the requests to previews."""

    addresses: PreviewAddresses
    access: Access
    session: aiohttp.ClientSession
    limits: Limits
    stopping: asyncio.Event
    cookie_seconds: float
    open_requests: dict[str, int]


class PreviewHosts:
    """ASGI middleware: hands requests to a preview's host to the proxy (`app.state.preview_proxy`), others on."""

    def __init__(self, app: ASGIApp, *, addresses: PreviewAddresses) -> None:
        self._app = app
        self._addresses = addresses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        sent = text_headers(scope["headers"])
        host = sent.get("host", "")
        preview_id = self._addresses.preview_of(host)
        if preview_id is None:
            await self._app(scope, receive, send)
            return
        proxy = getattr(scope["app"].state, "preview_proxy", None)
        if not isinstance(proxy, Proxy):
            await _refuse(scope, receive, send, _answer(503, "starting", pages.silent(), sent))
            return
        await _Visitor(proxy, preview_id, host, sent).serve(scope, receive, send)


class _Visitor:
    """One request of somebody to one preview."""

    def __init__(self, proxy: Proxy, preview_id: str, host: str, sent: dict[str, str]) -> None:
        self._proxy = proxy
        self._id = preview_id
        self._host = host
        self._sent = sent

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not raw_path(scope).startswith(b"/"):
            await _refuse(scope, receive, send, _answer(400, "preview-no-path", pages.no_path(), self._sent))
            return
        if scope["type"] == "http" and scope["path"].startswith(RESERVED):
            await (await self._entered(scope))(scope, receive, send)
            return
        refusal = await self._passed_on(scope, receive, send)
        if refusal is not None:
            await _refuse(scope, receive, send, refusal)

    async def _entered(self, scope: Scope) -> Response:
        """The answer to a link: a cookie, and the page itself at an address without the pass in it."""
        kind = {OPEN_PATH: "open", SHARE_PATH: "share"}.get(scope["path"])
        token = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        entered = None
        if kind is not None and scope["method"] == "GET":
            entered = await self._proxy.access.enter(self._id, kind, token)
        if entered is None:
            return _answer(401, "preview-link-needed", pages.refused(), self._sent)
        seconds = self._proxy.cookie_seconds
        # A link that opens once has lived a minute at most; a shared one bounds the cookie by its own end.
        expires = expiry(seconds, at_most=entered.exp if entered.share else None)
        answer = RedirectResponse("/", status_code=303)
        answer.headers.update({"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})
        secure = self._proxy.addresses.is_secure
        cookie = self._proxy.access.cookie(entered, expires)
        answer.headers.append("Set-Cookie", cookies.pass_header(cookie, secure=secure, max_age=int(seconds)))
        return answer

    async def _passed_on(self, scope: Scope, receive: Receive, send: Send) -> Response | None:
        """Passes the request on; what to answer instead when it is not."""
        seen = await self._admitted()
        if seen is None:
            return _answer(401, "preview-link-needed", pages.refused(), self._sent)
        if self._is_foreign(scope):
            return _answer(403, "preview-other-site", pages.foreign(), self._sent)
        if seen.status != "ready" or seen.address is None:
            return _not_there(seen, self._sent)
        return await self._limited(scope, receive, send, seen)

    async def _admitted(self) -> Seen | None:
        secure = self._proxy.addresses.is_secure
        brought = cookies.passes_in(self._sent.get("cookie", ""), secure=secure)
        return await self._proxy.access.admitted(self._id, brought)

    def _is_foreign(self, scope: Scope) -> bool:
        if scope["type"] == "websocket":
            origin = self._sent.get("origin")
            return origin is not None and not is_own_origin(origin, self._host)
        return is_foreign(self._sent, self._host, safe=scope["method"] in _SAFE)

    async def _limited(self, scope: Scope, receive: Receive, send: Send, seen: Seen) -> Response | None:
        counts = self._proxy.open_requests
        if counts.get(self._id, 0) >= self._proxy.limits.at_once:
            return _answer(503, "preview-busy", pages.busy(), self._sent)
        counts[self._id] = counts.get(self._id, 0) + 1
        try:
            return await self._upstream(scope, receive, send, seen)
        finally:
            counts[self._id] -= 1
            if not counts[self._id]:
                del counts[self._id]

    async def _upstream(self, scope: Scope, receive: Receive, send: Send, seen: Seen) -> Response | None:
        address, proxy = seen.address or "", self._proxy
        client = scope.get("client")
        visit = Visit(
            host=self._host,
            scheme=proxy.addresses.scheme,
            client=client[0] if client else "",
            port=seen.port or int(address.rpartition(":")[2]),
        )
        try:
            passing = Tunnel if scope["type"] == "websocket" else Exchange
            way = passing(proxy.session, proxy.limits, proxy.stopping)
            await way.run(scope, receive, send, address=address, visit=visit, allowed=self._still_admitted)
        except Silent as error:
            _log.info("preview.silent", preview_id=self._id, error=str(error))
            return _answer(502, "preview-silent", pages.silent(), self._sent)
        except BodyTooLarge:
            return _answer(413, "content-too-large", pages.too_large(), self._sent)
        except (aiohttp.ClientError, TimeoutError) as error:
            # Half an answer is out. Its end is left out, too: a cut connection tells the browser what is missing.
            _log.info("preview.cut", preview_id=self._id, error=type(error).__name__)
        return None

    async def _still_admitted(self) -> bool:
        try:
            seen = await self._admitted()
        except DATABASE_FAULTS:
            return True  # nobody can tell, and whoever was let in goes on
        return seen is not None and seen.status == "ready"


def _not_there(seen: Seen, sent: dict[str, str]) -> Response:
    if seen.status in _ON_ITS_WAY or seen.status == "ready":
        page = pages.starting(seen.status, seen.framework)
        answer = _answer(503, "preview-starting", page, sent)
        answer.headers["Retry-After"] = "1"
        return answer
    if seen.status == "failed":
        page = pages.failed(seen.message, seen.log_tail)
        return _answer(502, "preview-failed", page, sent, log_tail=list(seen.log_tail), detail=seen.message)
    if seen.status == "deleted":
        return _answer(410, "preview-deleted", pages.gone(), sent)
    return _answer(503, "preview-stopped", pages.stopped(), sent)


def _answer(status: int, kind: str, page: str, sent: dict[str, str], **more: Any) -> Response:
    """A page for a person, a problem for a program."""
    if "text/html" in sent.get("accept", ""):
        headers = {"Content-Security-Policy": pages.POLICY, "Cache-Control": "no-store", "X-Robots-Tag": "noindex"}
        return HTMLResponse(page, status_code=status, headers=headers)
    detail = more.pop("detail", None)
    answer = problem_response(Problem(status, kind, detail=detail, **more))
    answer.headers["Cache-Control"] = "no-store"
    return answer


async def _refuse(scope: Scope, receive: Receive, send: Send, answer: Response) -> None:
    if scope["type"] == "http":
        await answer(scope, receive, send)
        return
    await receive()
    if "websocket.http.response" in scope.get("extensions", {}):
        await send(
            {
                "type": "websocket.http.response.start",
                "status": answer.status_code,
                "headers": [(b"content-length", b"0")],
            }
        )
        await send({"type": "websocket.http.response.body", "body": b""})
        return
    code = _TRY_AGAIN_LATER if answer.status_code >= 500 else _POLICY_VIOLATION  # noqa: PLR2004
    await send({"type": "websocket.close", "code": code})
