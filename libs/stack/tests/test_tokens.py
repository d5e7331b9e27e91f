"""Tokens that the command mints are tokens that the services take."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runyard_chassis.auth import Tokens
from runyard_stack.cli.info import lifetime, token
from runyard_stack.credentials import Credentials, load_credentials
from runyard_stack.errors import StackError
from runyard_stack.layout import layout_from_environment
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
    made = admin_token(Credentials(), {"JWT_SECRET_KEY": key}, timedelta(minutes=5))
    assert Tokens(key).verify(made)


def test_the_command_prints_a_token_or_the_team_that_it_is_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNYARD_HOME", str(tmp_path))
    credentials = load_credentials(layout_from_environment().credentials)
    token()
    token(team=True)
    printed, team = capsys.readouterr().out.split()
    assert Tokens(credentials.jwt_secret_key).verify(printed).tenant == team == credentials.tenant_id


def test_durations_are_short_words() -> None:
    assert lifetime("30m") == timedelta(minutes=30)
    assert lifetime("7d") == timedelta(days=7)


@pytest.mark.parametrize("text", ["", "7", "0h", "-1h", "1w", "400d", "1h30m", "99999999d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(StackError, match="not a duration"):
        lifetime(text)
