"""Settings from the environment, and what production refuses."""

from typing import ClassVar

import pytest
from pydantic import SecretStr, ValidationError

from runyard_chassis import ServiceSettings, load_settings
from runyard_events.redact import Redactor

STRONG = "s" * 32


class RunnerSettings(ServiceSettings):
    STRONG_SECRETS: ClassVar[tuple[str, ...]] = ("jwt_secret_key", "run_token_key")

    port: int = 9102
    run_token_key: SecretStr | None = None


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in RunnerSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_names_in_the_environment_are_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_URL", "nats://n:1")
    monkeypatch.setenv("NATS_PASSWORD", "p")
    monkeypatch.setenv("PORT", "9")
    settings = RunnerSettings()
    assert (settings.nats_url, settings.port) == ("nats://n:1", 9)
    assert settings.nats_password == SecretStr("p")


def test_keywords_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9")
    assert RunnerSettings(port=10).port == 10


def test_development_starts_without_any_setting() -> None:
    assert RunnerSettings().port == 9102


@pytest.mark.parametrize(
    ("key", "complaint"),
    [
        (None, "JWT_SECRET_KEY still has its default value"),
        ("", "JWT_SECRET_KEY is not set"),
        ("s" * 31, r"JWT_SECRET_KEY is too short \(31 characters\)"),
    ],
)
def test_production_refuses_a_weak_key_and_says_how_to_make_one(
    monkeypatch: pytest.MonkeyPatch, key: str | None, complaint: str
) -> None:
    if key is not None:
        monkeypatch.setenv("JWT_SECRET_KEY", key)
    with pytest.raises(ValidationError, match=f"{complaint}.*token_urlsafe"):
        ServiceSettings(environment="production")


def test_production_refuses_any_secret_that_a_service_calls_strong() -> None:
    with pytest.raises(ValidationError, match="RUN_TOKEN_KEY is not set"):
        RunnerSettings(environment="production", jwt_secret_key=SecretStr(STRONG))


def test_production_starts_with_strong_secrets() -> None:
    strong = SecretStr(STRONG)
    assert RunnerSettings(environment="production", jwt_secret_key=strong, run_token_key=strong).environment


def test_the_redactor_knows_the_installation_s_secrets_by_their_fingerprints() -> None:
    prints = ",".join(Redactor.for_secrets(["canary-5f0e2d7c9b1a"], salt="s").fingerprints)
    settings = RunnerSettings(redaction_salt=SecretStr("s"), redaction_fingerprints=prints)
    assert settings.redactor.clean("key canary-5f0e2d7c9b1a") == "key [redacted]"


def test_wrong_settings_end_the_process_with_names_and_without_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "canary")
    monkeypatch.setenv("LOG_LEVEL", "LOUD")
    with pytest.raises(SystemExit) as caught:
        load_settings(RunnerSettings)
    message = str(caught.value)
    assert "PORT: " in message
    assert "LOG_LEVEL: " in message
    assert "canary" not in message


def test_a_short_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("JWT_SECRET_KEY", "canary")
    with pytest.raises(SystemExit) as caught:
        load_settings(ServiceSettings)
    assert "too short" in str(caught.value)
    assert "canary" not in str(caught.value)
