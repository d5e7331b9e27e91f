"""Tokens for the API, signed with the key of this data folder."""

from collections.abc import Mapping
from datetime import timedelta

from runyard_stack.credentials import Credentials

DEFAULT_LIFETIME = timedelta(hours=24)


def admin_token(
    credentials: Credentials, environment: Mapping[str, str], lifetime: timedelta = DEFAULT_LIFETIME
) -> str:
    """A token of the first admin in the first tenant."""
    from runyard_chassis.auth import Tokens  # noqa: PLC0415 - pulls FastAPI in

    key = environment.get("JWT_SECRET_KEY") or credentials.jwt_secret_key
    return Tokens(key).mint(tenant=credentials.tenant_id, user=credentials.admin_id, role="admin", lifetime=lifetime)
