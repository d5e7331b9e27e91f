"""Tokens for the API, signed with the key of this data folder."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from runyard_stack.credentials import Credentials

DEFAULT_LIFETIME = timedelta(hours=24)


def admin_token(
    credentials: Credentials, environment: Mapping[str, str], lifetime: timedelta = DEFAULT_LIFETIME
) -> str:
    """A token of the first admin in the first tenant.

    Minted here and not by `runyard_chassis.auth.Tokens`, whose package takes two seconds to import: every
    command would wait for it. A test holds the two together.
    """
    import jwt  # noqa: PLC0415 - only those commands need it that call the API

    now = datetime.now(UTC)
    claims = {
        "aud": "runyard-api",
        "iat": now,
        "exp": now + lifetime,
        "jti": uuid.uuid4().hex,
        "tid": credentials.tenant_id,
        "sub": credentials.admin_id,
        "role": "admin",
    }
    key = environment.get("JWT_SECRET_KEY") or credentials.jwt_secret_key
    return jwt.encode(claims, key, algorithm="HS256")
