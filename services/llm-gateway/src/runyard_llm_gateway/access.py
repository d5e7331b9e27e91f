"""The run's token: what an agent presents where a provider's key would stand."""

import time
from collections import OrderedDict
from dataclasses import dataclass
from urllib.parse import parse_qsl

from runyard_chassis import Claims, TokenError, Tokens
from runyard_llm_gateway.providers.base import Headers

_KEPT = 4096
_KEYS_IN_ADDRESSES = {"key", "access_token"}


class Refused(Exception):
    """The caller may not; the text is what he is told."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class RunCaller:
    """The run on whose behalf a call is made."""

    tenant: str
    session: str
    run: str


class RunAccess:
    """Verifies run tokens. A token that was good is remembered until it expires, the newest few thousand."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._known: OrderedDict[bytes, tuple[RunCaller, float]] = OrderedDict()

    def caller(self, headers: Headers, query: bytes = b"") -> RunCaller:
        """The run that a request's headers name, by `Authorization: Bearer`, `x-api-key` or `x-goog-api-key`.

        A key in the address, as Google's APIs take it too, is refused: addresses end up in logs.

        Raises:
            Refused: 401 without a good token, 403 with one that is for no run.
        """
        if query and not _KEYS_IN_ADDRESSES.isdisjoint(dict(parse_qsl(query.decode("latin-1")))):
            raise Refused(401, "The run token belongs into a header (x-goog-api-key), not into the address.")
        presented = _presented(headers)
        if not presented:
            raise Refused(401, "A run token is needed: Authorization: Bearer <token>, x-api-key or x-goog-api-key.")
        known = self._known.get(presented)
        if known is not None and time.time() < known[1]:
            return known[0]
        return self._verified(presented)

    def _verified(self, presented: bytes) -> RunCaller:
        self._known.pop(presented, None)
        try:
            claims = self._tokens.verify(presented.decode("latin-1"))
        except TokenError as error:
            reason = "The run token has expired." if error.expired else "The run token is not valid."
            raise Refused(401, reason) from error
        caller = _run_of(claims)
        self._known[presented] = (caller, claims.expires.timestamp())
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return caller


def _run_of(claims: Claims) -> RunCaller:
    if not claims.session or not claims.run:
        raise Refused(403, "The token is for no run.")
    return RunCaller(claims.tenant, claims.session, claims.run)


def _presented(headers: Headers) -> bytes:
    key = b""
    for name, value in headers:
        if name == b"authorization":
            scheme, _, token = value.partition(b" ")
            if scheme.lower() == b"bearer":
                return token.strip()
        elif name in (b"x-api-key", b"x-goog-api-key"):
            key = value.strip()
    return key
