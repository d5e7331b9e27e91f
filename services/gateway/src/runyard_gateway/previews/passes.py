"""Signed passes to a preview: a link that opens once, a link that is shared, and the cookie that either becomes."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import jwt
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from runyard_chassis import derive_key
from runyard_chassis.tokens import ALGORITHM, Token

Kind = Literal["open", "share", "cookie"]


class Pass(BaseModel):
    """What a pass says: which preview it opens, for whom (a user, or the holders of a share), and until when."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    tid: Token
    pid: Token
    jti: Token
    exp: datetime
    sub: str | None = None
    share: Token | None = None

    @model_validator(mode="after")
    def _for_somebody(self) -> "Pass":
        if (self.sub is None) == (self.share is None):
            raise ValueError("a pass is for a user or for a share")
        return self


@dataclass(frozen=True, slots=True)
class Holder:
    """For whom a pass is."""

    tenant: str
    preview: str
    user: str | None = None
    share: str | None = None


class Passes:
    """Signs and checks passes; the key is derived for them alone, so no other token opens a preview."""

    def __init__(self, secret: str) -> None:
        self._key = derive_key(secret, "preview")

    def mint(self, kind: Kind, holder: Holder, expires: datetime) -> str:
        """A signed pass."""
        claims: dict[str, Any] = {
            "aud": _audience(kind),
            "iat": datetime.now(UTC),
            "exp": expires,
            "jti": uuid.uuid4().hex,
            "tid": holder.tenant,
            "pid": holder.preview,
            "sub": holder.user,
            "share": holder.share,
        }
        return jwt.encode({name: value for name, value in claims.items() if value is not None}, self._key, ALGORITHM)

    def read(self, kind: Kind, text: str) -> Pass | None:
        """What a pass of this kind says; None when it is not one, or not good any more."""
        options: Any = {"require": ["exp", "aud", "iat", "jti"]}
        try:
            claims = jwt.decode(text, self._key, [ALGORITHM], options=options, audience=_audience(kind))
            return Pass.model_validate(claims)
        except (jwt.PyJWTError, ValidationError, ValueError):
            return None


def expiry(seconds: float, *, at_most: datetime | None = None) -> datetime:
    """The moment so many seconds from now, or an earlier one."""
    found = datetime.now(UTC) + timedelta(seconds=seconds)
    return found if at_most is None else min(found, at_most)


def is_platform_token(authorization: str) -> bool:
    """Whether an `Authorization` header carries one of our tokens, good or not."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        return False
    try:
        claims: dict[str, Any] = jwt.decode(token.strip(), options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError):
        return False
    return str(claims.get("aud", "")).startswith("runyard-")


def _audience(kind: Kind) -> str:
    return f"runyard-preview-{kind}"
