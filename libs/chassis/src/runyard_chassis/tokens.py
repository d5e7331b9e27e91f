"""HS256 tokens and their claims; no web framework in here, so that a command line can mint one quickly."""

import hashlib
import hmac
import uuid
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import jwt
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

API_AUDIENCE = "runyard-api"
LLM_AUDIENCE = "runyard-llm"
SESSION_AUDIENCE = "runyard-session"
"""Of tokens that the container of one session holds; their key is `derive_key(secret, SESSION_KEY)`."""
SESSION_KEY = "session"
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
    """What a verified token says. `sub` is set in users' tokens, `sid` (and `rid`) in session and run tokens.

    `epoch` is the container that a session token was made for.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    audience: str = Field(alias="aud")
    tenant: Token = Field(alias="tid")
    user: str | None = Field(default=None, alias="sub", max_length=256)
    session: Token | None = Field(default=None, alias="sid")
    run: Token | None = Field(default=None, alias="rid")
    epoch: int | None = Field(default=None, ge=1)
    role: str | None = None
    expires: datetime = Field(alias="exp")
    issued: datetime = Field(alias="iat")
    id: str | None = Field(default=None, alias="jti")


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
        epoch: int | None = None,
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
            "epoch": epoch,
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


def _plain(secret: str | SecretStr) -> str:
    return secret.get_secret_value() if isinstance(secret, SecretStr) else secret
