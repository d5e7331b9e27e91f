"""The services of the product and the settings that the stack gives to each."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import SecretStr, ValidationError

from runyard_chassis.auth import derive_key
from runyard_chassis.service import Service
from runyard_chassis.settings import ServiceSettings, what_is_wrong
from runyard_events.redact import Redactor
from runyard_stack.credentials import Credentials
from runyard_stack.errors import StackError
from runyard_stack.layout import HOST, Layout

# Less than the ten seconds that a person is asked to wait for a stop of the whole stack.
SHUTDOWN_GRACE_SECONDS = 5


@dataclass(frozen=True)
class Part:
    """One service of the product."""

    name: str

    @property
    def package(self) -> str:
        """Its Python package."""
        return f"runyard_{self.name.replace('-', '_')}"


# In the order of who needs whom; the gateway, which people talk to, comes last.
PARTS = tuple(
    Part(name)
    for name in (
        "llm-gateway",
        "workspace",
        "orchestrator",
        "runner-codex",
        "runner-claude",
        "runner-acp",
        "gateway",
    )
)


@dataclass(frozen=True)
class Wiring:
    """Where the servers are, and the secrets that services share."""

    layout: Layout
    credentials: Credentials
    nats_url: str
    database_url: str
    nats_users: Mapping[str, tuple[str, str]]
    jwt_secret_key: str
    redactor: Redactor

    @property
    def host(self) -> str:
        """The address that services listen on."""
        return HOST

    def port_of(self, name: str) -> int:
        """The port that a service listens on."""
        return self.layout.port(name)

    def address_of(self, name: str) -> str:
        """Where the other services find it."""
        return self.layout.address(name)

    @property
    def installation(self) -> str:
        """Names this stack's containers among those of others on the same engine."""
        return self.credentials.installation

    def values(self, part: Part) -> dict[str, Any]:
        """Every setting that the stack decides, by field name; a service takes those that it declares."""
        layout = self.layout
        addresses = {f"{other.name.replace('-', '_')}_url": self.address_of(other.name) for other in PARTS}
        values: dict[str, Any] = {
            **addresses,
            "host": self.host,
            "port": self.port_of(part.name),
            "nats_url": self.nats_url,
            "database_url": SecretStr(self.database_url),
            "jwt_secret_key": SecretStr(self.jwt_secret_key),
            "nats_issuer_seed": SecretStr(self.credentials.nats_issuer_seed),
            "credentials_key": SecretStr(self.credentials.credentials_key),
            "run_token_key": SecretStr(derive_key(self.jwt_secret_key, "run")),
            "workspaces_root": layout.workspaces,
            "agents_root": layout.agents / part.name,
            "sandbox_installation": self.installation,
            "sandbox_rest_file": layout.taken_down,
            "shutdown_grace_seconds": SHUTDOWN_GRACE_SECONDS,
            "redaction_salt": SecretStr(self.credentials.redaction_salt),
            "redaction_fingerprints": ",".join(sorted(self.redactor.fingerprints)),
        }
        if part.name in self.nats_users:
            user, password = self.nats_users[part.name]
            values |= {"nats_user": user, "nats_password": SecretStr(password)}
        return values


def load_settings_class(part: Part) -> type[ServiceSettings]:
    """The service's settings: the one class that its `settings` module defines."""
    module = importlib.import_module(f"{part.package}.settings")
    for found in vars(module).values():
        own = isinstance(found, type) and found.__module__ == module.__name__
        if own and issubclass(found, ServiceSettings):
            return found
    raise TypeError(f"{module.__name__} defines no settings")


def load_build(part: Part) -> Callable[[ServiceSettings], Service]:
    """The service's `app.build`."""
    module = importlib.import_module(f"{part.package}.app")
    return cast("Callable[[ServiceSettings], Service]", module.build)


def chosen(part: Part, settings: type[ServiceSettings], wiring: Wiring) -> dict[str, Any]:
    """The stack's values for the fields that this service has."""
    values = wiring.values(part)
    return {name: value for name, value in values.items() if name in settings.model_fields}


def build(part: Part, wiring: Wiring) -> Service:
    """The service, wired by keyword; what the stack does not decide comes from the environment.

    Raises:
        StackError: the environment has something that it cannot use.
    """
    settings = load_settings_class(part)
    try:
        configured = settings(**chosen(part, settings, wiring))
    except ValidationError as error:
        raise StackError(f"The {part.name} cannot be configured. {'; '.join(what_is_wrong(error))}") from None
    return load_build(part)(configured)


def environment_of(part: Part, wiring: Wiring) -> dict[str, str]:
    """The same settings as environment variables, for a service in a process of its own."""
    settings = load_settings_class(part)
    return {name.upper(): _text(value) for name, value in chosen(part, settings, wiring).items()}


def _text(value: Any) -> str:
    return str(value.get_secret_value() if isinstance(value, SecretStr) else value)
