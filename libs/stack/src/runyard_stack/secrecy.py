"""Which secrets there are, so that they are recognised wherever they turn up."""

from collections.abc import Mapping

from runyard_events.redact import Redactor
from runyard_stack.credentials import Credentials

SECRET_NAMES = ("API_KEY", "AUTH_TOKEN", "ACCESS_KEY", "SECRET", "SECRET_KEY", "PASSWORD", "_TOKEN")


def is_secret(name: str) -> bool:
    """Whether an environment variable holds a secret, by its name."""
    return name.upper().endswith(SECRET_NAMES)


def redactor(credentials: Credentials, environment: Mapping[str, str]) -> Redactor:
    """Knows every secret of this stack and of its environment, by salted fingerprints only."""
    secrets = [value for name, value in environment.items() if is_secret(name)]
    secrets += [
        credentials.jwt_secret_key,
        credentials.postgres_password,
        credentials.postgres_superuser_password,
        credentials.nats_issuer_seed,
        credentials.credentials_key,
        *credentials.nats_passwords.values(),
    ]
    return Redactor.for_secrets(secrets, credentials.redaction_salt)
