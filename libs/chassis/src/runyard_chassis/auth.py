"""Who is calling: HS256 tokens, their claims, and the FastAPI dependencies that read them."""

import hashlib
import hmac
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import jwt
from fastapi import Depends
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.security.http import HTTPBase
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from starlette.requests import HTTPConnection

from runyard_chassis.problems import Forbidden, Unauthorized

API_AUDIENCE = "runyard-api"
LLM_AUDIENCE = "runyard-llm"
ALGORITHM = "HS256"
LEEWAY = timedelta(seconds=5)

# Ids of tenants, users and runs become NATS subject tokens and folder names: nothing else may come in by a
# token.
Token = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")]


class TokenError(Exception):
    """A token that is not good here. Its text says why, for the log; callers only learn `expired` or `invalid`."""

    def __init__(self, reason: str, *, expired: bool = False) -> None:
        super().__init__(reason)
        self.expired = expired


class Claims(BaseModel):
    """What a verified token says. `sub` is set in users' tokens, `sid` (and `rid`) in session and run tokens."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    audience: str = Field(alias="aud")
    tenant: Token = Field(alias="tid")
    user: str | None = Field(default=None, alias="sub", max_length=256)
    session: Token | None = Field(default=None, alias="sid")
    run: Token | None = Field(default=None, alias="rid")
    role: str | None = None
    expires: datetime = Field(alias="exp")
    issued: datetime = Field(alias="iat")
    id: str | None = Field(default=None, alias="jti")


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


def derive_key(secret: str | SecretStr, label: str, *, length: int = 32) -> str:
    """A key for one purpose out of a master secret, as hex: HKDF-SHA256 (RFC 5869), empty salt, `label` as info."""
    material = _plain(secret).encode()
    pseudo_random = hmac.new(bytes(32), material, hashlib.sha256).digest()
    output, block = b"", b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.new(pseudo_random, block + label.encode() + bytes([counter]), hashlib.sha256).digest()
        output += block
    return output[:length].hex()


class Tokens:
    """Mints and verifies tokens of one audience with one key."""

    def __init__(self, key: str | SecretStr, audience: str = API_AUDIENCE) -> None:
        self._key = _plain(key)
        self.audience = audience

    def mint(
        self,
        *,
        tenant: str,
        user: str | None = None,
        role: str | None = None,
        session: str | None = None,
        run: str | None = None,
        lifetime: timedelta = timedelta(hours=24),
    ) -> str:
        """A signed token; `user` or `session` says whose it is."""
        if user is None and session is None:
            raise ValueError("a token needs a user or a session")
        now = datetime.now(UTC)
        claims: dict[str, Any] = {
            "aud": self.audience,
            "iat": now,
            "exp": now + lifetime,
            "jti": uuid.uuid4().hex,
            "tid": tenant,
            "sub": user,
            "role": role,
            "sid": session,
            "rid": run,
        }
        present = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(present, self._key, algorithm=ALGORITHM)

    def verify(self, token: str) -> Claims:
        """The token's claims.

        Raises:
            TokenError: another key, algorithm or audience, expired, or a claim missing.
        """
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key,
                algorithms=[ALGORITHM],
                audience=self.audience,
                leeway=LEEWAY,
                options={"require": ["exp", "aud", "iat", "tid"]},
            )
            if not (claims.get("sub") or claims.get("sid")):
                raise TokenError("neither sub nor sid")
            return Claims.model_validate({**claims, "aud": self.audience})
        except jwt.ExpiredSignatureError as error:
            raise TokenError("expired", expired=True) from error
        except (jwt.PyJWTError, ValidationError, ValueError) as error:
            raise TokenError(type(error).__name__) from error


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


def _plain(secret: str | SecretStr) -> str:
    return secret.get_secret_value() if isinstance(secret, SecretStr) else secret
