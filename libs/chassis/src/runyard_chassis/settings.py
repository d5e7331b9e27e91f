"""Settings every service has. Plain environment names: `NATS_URL`, `DATABASE_URL`, `JWT_SECRET_KEY` ..."""

from typing import Any, ClassVar, Literal, Self, TypeVar

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from runyard_events.redact import Redactor

MINIMUM_SECRET_LENGTH = 32
DEFAULT_JWT_SECRET = "development-only-secret-never-use-it-in-production"  # noqa: S105

S = TypeVar("S", bound="ServiceSettings")


class ServiceSettings(BaseSettings):
    """Base of each service's `Settings`; built from the environment, or by keyword when the stack wires services.

    A subclass gives `port` its default and adds its own fields. `STRONG_SECRETS` names the fields that
    production refuses when they are empty, a default, or shorter than 32 characters.
    """

    model_config = SettingsConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    STRONG_SECRETS: ClassVar[tuple[str, ...]] = ("jwt_secret_key",)

    environment: Literal["development", "test", "production"] = "development"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["auto", "json", "console"] = "auto"

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    max_body_bytes: int = Field(default=1024 * 1024, ge=1)
    shutdown_grace_seconds: int = Field(default=10, ge=1)

    nats_url: str = "nats://127.0.0.1:9111"
    nats_user: str | None = None
    nats_password: SecretStr | None = None

    database_url: SecretStr = SecretStr("postgresql://runyard@127.0.0.1:9103/runyard")

    jwt_secret_key: SecretStr = SecretStr(DEFAULT_JWT_SECRET)

    redaction_salt: SecretStr = SecretStr("")
    redaction_fingerprints: str = Field(default="", description="Of known secrets, separated by commas or blanks.")

    otel_exporter_otlp_endpoint: str | None = None

    @property
    def redactor(self) -> Redactor:
        """Recognises the secrets of this installation, also those that the service was never given."""
        fingerprints = self.redaction_fingerprints.replace(",", " ").split()
        return Redactor(self.redaction_salt.get_secret_value(), frozenset(fingerprints))

    @model_validator(mode="after")
    def _production_needs_strong_secrets(self) -> Self:
        if self.environment != "production":
            return self
        for name in self.STRONG_SECRETS:
            weakness = _weakness(getattr(self, name), default=type(self).model_fields[name].default)
            if weakness:
                raise ValueError(
                    f"{name.upper()} {weakness}. Production needs a secret of at least {MINIMUM_SECRET_LENGTH} "
                    'characters: python -c "import secrets; print(secrets.token_urlsafe(48))"'
                )
        return self


def _weakness(secret: SecretStr | None, *, default: Any) -> str | None:
    value = secret.get_secret_value() if secret else ""
    if not value:
        return "is not set"
    if value == DEFAULT_JWT_SECRET or (isinstance(default, SecretStr) and secret == default):
        return "still has its default value"
    if len(value) < MINIMUM_SECRET_LENGTH:
        return f"is too short ({len(value)} characters)"
    return None


def load_settings(settings_class: type[S]) -> S:
    """The settings from the environment; wrong ones end the process with a list of what to correct.

    Raises:
        SystemExit: with the variables' names and what is wrong with each, never their values.
    """
    try:
        return settings_class()
    except ValidationError as error:
        lines = [f"  - {line}" for line in what_is_wrong(error)]
        raise SystemExit("\n".join(["The configuration is not usable:", *lines])) from None


def what_is_wrong(error: ValidationError) -> list[str]:
    """One line per mistake: the variable's name and what is wrong with it, never its value."""
    lines: list[str] = []
    for item in error.errors(include_input=False, include_url=False, include_context=False):
        name = "_".join(str(part) for part in item["loc"]).upper()
        message = item["msg"].removeprefix("Value error, ")
        lines.append(f"{name}: {message}" if name else message)
    return lines
