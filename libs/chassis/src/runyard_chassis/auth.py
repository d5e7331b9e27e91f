"""Who is calling: the FastAPI dependencies that read and check tokens."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.security.http import HTTPBase
from starlette.requests import HTTPConnection

from runyard_chassis.problems import Forbidden, Unauthorized
from runyard_chassis.tokens import (
    API_AUDIENCE,
    LLM_AUDIENCE,
    Claims,
    TokenError,
    Tokens,
    derive_key,
)

__all__ = [
    "API_AUDIENCE",
    "LLM_AUDIENCE",
    "AdminDep",
    "Caller",
    "CallerDep",
    "Claims",
    "Container",
    "StreamCallerDep",
    "TokenError",
    "Tokens",
    "admin",
    "authenticate",
    "authenticate_container",
    "bearer",
    "caller",
    "derive_key",
    "stream_caller",
    "tokens_of",
]


@dataclass(frozen=True)
class Caller:
    """The authenticated user behind a request."""

    tenant: str
    user: str
    role: str
    claims: Claims
    token: str

    @property
    def authorization(self) -> dict[str, str]:
        """The header that passes this caller on to another service's internal route."""
        return {"Authorization": f"Bearer {self.token}"}


def bearer(connection: HTTPConnection) -> str | None:
    """The token of an `Authorization: Bearer` header."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and token else None


def tokens_of(connection: HTTPConnection) -> Tokens:
    """The verifier that `create_app(tokens=...)` put on the app."""
    tokens = getattr(connection.app.state, "tokens", None)
    if not isinstance(tokens, Tokens):
        raise TypeError("the app was not made by create_app(): it has no tokens to verify with")
    return tokens


def authenticate(tokens: Tokens, token: str | None) -> Caller:
    """The caller that a user token names.

    Raises:
        Unauthorized: no token, a bad one, or one without a user.
    """
    if token is None:
        raise Unauthorized("A bearer token is needed: Authorization: Bearer <token>.")
    try:
        claims = tokens.verify(token)
    except TokenError as error:
        raise Unauthorized("The token has expired." if error.expired else "The token is not valid.") from error
    if claims.user is None:
        raise Unauthorized("The token is not valid.")
    return Caller(tenant=claims.tenant, user=claims.user, role=claims.role or "user", claims=claims, token=token)


@dataclass(frozen=True, slots=True)
class Container:
    """The container of one session, as its token names it."""

    tenant: str
    session: str
    epoch: int


def authenticate_container(tokens: Tokens, token: str | None) -> Container:
    """The container that a session token names. Whether it is still the session's own, the log says.

    Raises:
        Unauthorized: no token, a bad one, or one for something else.
    """
    if token is None:
        raise Unauthorized("A session's token is needed: Authorization: Bearer <token>.")
    try:
        claims = tokens.verify(token)
    except TokenError as error:
        raise Unauthorized("The token has expired." if error.expired else "The token is not valid.") from error
    if claims.session is None or claims.epoch is None:
        raise Unauthorized("The token is not valid.")
    return Container(claims.tenant, claims.session, claims.epoch)


class _BearerToken(HTTPBase):
    """Reads the header on HTTP and WebSocket routes alike, and puts the scheme into the OpenAPI document."""

    def __init__(self) -> None:
        super().__init__(scheme="bearer", scheme_name="bearer", auto_error=False)
        self.model = HTTPBearerModel(bearerFormat="JWT")

    async def __call__(self, connection: HTTPConnection) -> str | None:  # type: ignore[override]
        return bearer(connection)


BearerToken = Annotated[str | None, Depends(_BearerToken())]


async def caller(connection: HTTPConnection, token: BearerToken) -> Caller:
    """FastAPI dependency: the user in `Authorization: Bearer`."""
    return authenticate(tokens_of(connection), token)


async def stream_caller(connection: HTTPConnection, token: BearerToken) -> Caller:
    """The same for SSE and WebSocket routes; they also take `?token=`, as browsers set no headers there."""
    return authenticate(tokens_of(connection), token or connection.query_params.get("token"))


CallerDep = Annotated[Caller, Depends(caller)]
StreamCallerDep = Annotated[Caller, Depends(stream_caller)]


async def admin(who: CallerDep) -> Caller:
    """FastAPI dependency: a caller with the role `admin`."""
    if who.role != "admin":
        raise Forbidden("This needs the role admin.")
    return who


AdminDep = Annotated[Caller, Depends(admin)]
