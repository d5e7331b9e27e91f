"""Requests to a platform's HTTP API: who answers what, what is tried again, and nothing secret in any message.

Only requests that may be repeated are: a 5xx or a broken connection says nothing about whether the
platform has done it.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import httpx

from runyard_sandbox.provisioner import EngineAway, SandboxFault

_UNAUTHORIZED = frozenset({401, 403})
_BUSY = frozenset({429, 502, 503, 504})
_SERVER_ERRORS = 500
_ERRORS = 400
_LONGEST_MESSAGE = 500
_OPENED_SECONDS = 30.0


class Refused(SandboxFault):
    """The platform answered that it will not do this."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    NOT_FOUND = 404
    CONFLICT = 409

    @property
    def is_missing(self) -> bool:
        """Whether the thing asked for does not exist."""
        return self.status == self.NOT_FOUND

    @property
    def is_there_already(self) -> bool:
        """Whether a thing of this name exists, or has been changed by somebody else meanwhile."""
        return self.status == self.CONFLICT


@dataclass(frozen=True, slots=True)
class Credential:
    """What opens the platform: a header, and where its secret comes from (asked anew each time: it may be rotated)."""

    header: str
    secret: Callable[[], str]
    prefix: str = ""
    remedy: str = ""
    """What to do when the platform does not take it."""

    def headers(self) -> dict[str, str]:
        """The header with the secret of now."""
        return {self.header: f"{self.prefix}{self.secret()}"}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait: seconds for an answer, how often to try, seconds before the second try (doubled each time)."""

    answer_seconds: float = 15
    connect_seconds: float = 5
    attempts: int = 4
    first_pause_seconds: float = 0.2


class Remote:
    """A platform's API below one address. `name` is what people call the platform."""

    def __init__(
        self,
        name: str,
        address: str,
        *,
        credential: Credential,
        patience: Patience,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self._name = name
        self._credential = credential
        self._patience = patience
        self._client = httpx.AsyncClient(
            base_url=address.rstrip("/") + "/",
            headers={"Accept": "application/json"},
            timeout=httpx.Timeout(patience.answer_seconds, connect=patience.connect_seconds),
            verify=verify,
            trust_env=False,
            follow_redirects=False,
        )

    async def close(self) -> None:
        """Closes all connections."""
        await self._client.aclose()

    async def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        may_repeat: bool | None = None,
    ) -> Any:
        """The decoded answer of a request; None when it has no body. GET, PUT and DELETE may be repeated.

        Raises:
            Refused: a 4xx, or a 5xx of a request that may not be repeated.
            EngineAway: no answer, an answer that cannot be read, or a credential that is not taken.
        """
        repeat = method in {"GET", "PUT", "DELETE"} if may_repeat is None else may_repeat
        content = None if body is None else json.dumps(body).encode()
        request = self._client.build_request(
            method,
            path.lstrip("/"),
            params=dict(params or {}),
            content=content,
            headers=self._headers() | ({"Content-Type": content_type} if content is not None else {}),
        )
        answer = await self._send(request, repeat=repeat)
        self._check(answer, repeat=repeat)
        return self._decoded(answer)

    @asynccontextmanager
    async def lines(self, path: str, *, params: Mapping[str, str] | None = None) -> AsyncGenerator[httpx.Response]:
        """An answer that is read while it comes, for as long as it comes.

        Raises:
            Refused, EngineAway: as `call`; EngineAway also when it breaks off.
        """
        timeout = httpx.Timeout(_OPENED_SECONDS, connect=self._patience.connect_seconds, read=None)
        request = self._client.build_request(
            "GET", path.lstrip("/"), params=dict(params or {}), timeout=timeout, headers=self._headers()
        )
        try:
            async with asyncio.timeout(_OPENED_SECONDS):
                answer = await self._client.send(request, stream=True)
            try:
                if answer.status_code >= _ERRORS:
                    await answer.aread()
                    self._check(answer, repeat=True)
                yield answer
            finally:
                await answer.aclose()
        except (httpx.HTTPError, TimeoutError) as error:
            raise self._away(type(error).__name__) from None

    async def _send(self, request: httpx.Request, *, repeat: bool) -> httpx.Response:
        pause = self._patience.first_pause_seconds
        for left in reversed(range(self._patience.attempts if repeat else 1)):
            try:
                answer = await self._client.send(request)
            except httpx.HTTPError as error:
                # `from None`: the error carries the request, and that the credential.
                if not left:
                    raise self._away(type(error).__name__) from None
            else:
                if answer.status_code < _SERVER_ERRORS or not left:
                    return answer
            await asyncio.sleep(pause)
            pause *= 2
        raise AssertionError("the last attempt returns or raises")

    def _check(self, answer: httpx.Response, *, repeat: bool) -> None:
        status = answer.status_code
        if status < _ERRORS:
            if answer.is_redirect:
                raise self._away(f"answers {status}: the address leads elsewhere")
            return
        message = f"{self._name} answered {status}: {self._message(answer)}"
        if status in _UNAUTHORIZED and self._credential.remedy:
            message = f"{message} ({self._credential.remedy})"
        if status in _UNAUTHORIZED or status in _BUSY or (status >= _SERVER_ERRORS and repeat):
            raise EngineAway(message)
        raise Refused(status, message)

    def _decoded(self, answer: httpx.Response) -> Any:
        if not answer.content:
            return None
        try:
            return answer.json()
        except ValueError:
            raise self._away("its answer is not JSON") from None

    def _message(self, answer: httpx.Response) -> str:
        """The platform's own words, without anything that we hold as a secret."""
        try:
            body: Any = answer.json()
        except ValueError:
            body = answer.text
        if isinstance(body, dict):
            body = cast("dict[str, Any]", body).get("message") or ""
        text = str(body)
        return self.clean(text)[:_LONGEST_MESSAGE] or answer.reason_phrase

    def clean(self, text: str) -> str:
        """The text without the secret of this API."""
        secret = self._credential.secret()
        return text.replace(secret, "***") if secret else text

    def _headers(self) -> dict[str, str]:
        try:
            return self._credential.headers()
        except OSError as error:
            raise EngineAway(f"the credential for {self._name} cannot be read: {error.strerror}") from None

    def _away(self, why: str) -> EngineAway:
        return EngineAway(f"{self._name} does not answer: {why}")
