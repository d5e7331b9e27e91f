"""Tokens that the command mints are tokens that the services take."""

from datetime import UTC, datetime, timedelta

import pytest

from runyard_chassis.auth import Tokens
from runyard_stack.cli.info import lifetime
from runyard_stack.credentials import Credentials
from runyard_stack.errors import StackError
from runyard_stack.tokens import admin_token


def test_a_minted_token_is_the_first_admins_in_the_first_tenant() -> None:
    credentials = Credentials()
    claims = Tokens(credentials.jwt_secret_key).verify(admin_token(credentials, {}))
    assert claims.tenant == credentials.tenant_id
    assert claims.user == credentials.admin_id
    assert claims.role == "admin"
    assert timedelta(hours=23) < claims.expires - datetime.now(UTC) <= timedelta(hours=24)


def test_a_key_of_the_environment_comes_before_the_data_folders() -> None:
    key = "k" * 40
    token = admin_token(Credentials(), {"JWT_SECRET_KEY": key}, timedelta(minutes=5))
    assert Tokens(key).verify(token)


def test_durations_are_short_words() -> None:
    assert lifetime("30m") == timedelta(minutes=30)
    assert lifetime("7d") == timedelta(days=7)


@pytest.mark.parametrize("text", ["", "7", "0h", "-1h", "1w", "400d", "1h30m", "99999999d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(StackError, match="not a duration"):
        lifetime(text)
