"""What `compose.yaml` reads beside itself: the settings and secrets of each container, in a private folder.

The folder is made from the same credentials as an embedded stack, so `runyard token`, `run` and the other
commands work on a composed stack as they do on one's own.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import AliasChoices

from runyard_stack.accounts import NATS_USERS, STACK, nats_users
from runyard_stack.credentials import Credentials, load_credentials, nats_issuer
from runyard_stack.embedded.nats import NatsServer
from runyard_stack.layout import DEFAULT_PORT_BASE, Layout
from runyard_stack.secrecy import redactor
from runyard_stack.services import PARTS, Part, Wiring, environment_of, load_settings_class

CONTAINER_PORTS: Mapping[str, int] = {
    "gateway": 8080,
    "runner-codex": 8081,
    "runner-claude": 8082,
    "llm-gateway": 8086,
    "orchestrator": 8087,
    "workspace": 8088,
    "runner-acp": 8089,
}
UNPRIVILEGED = 10001
DATABASE = "runyard"
DOCKER_SOCKET = "/var/run/docker.sock"
ELSEWHERE = {"NATS_USER", "NATS_PASSWORD", "DOCKER_HOST"}
"""Settings whose value on the host means nothing in a container."""


@dataclass(frozen=True)
class ComposeWiring(Wiring):
    """The same settings as on one machine, with the services at their names in the composed network."""

    @property
    def host(self) -> str:
        """Every service takes connections from the others."""
        return "0.0.0.0"  # noqa: S104 - compose.yaml publishes it on loopback only

    def port_of(self, name: str) -> int:
        """The port inside."""
        return CONTAINER_PORTS[name]

    def address_of(self, name: str) -> str:
        """By name; every container has its own loopback."""
        return f"http://{name}:{CONTAINER_PORTS[name]}"


def write_compose(layout: Layout, environment: Mapping[str, str]) -> dict[str, str]:
    """Writes the folder `compose` of a data folder and returns what compose.yaml has to be told.

    Raises:
        StackError: the data folder cannot be used.
    """
    layout.create()
    credentials = load_credentials(layout.credentials, NATS_USERS)
    wiring = ComposeWiring(
        layout=layout,
        credentials=credentials,
        nats_url="nats://nats:4222",
        database_url=f"postgresql+asyncpg://{DATABASE}:{credentials.postgres_password}@postgres:5432/{DATABASE}",
        nats_users={name: (name, credentials.nats_passwords[name]) for name in NATS_USERS},
        jwt_secret_key=environment.get("JWT_SECRET_KEY") or credentials.jwt_secret_key,
        redactor=redactor(credentials, environment),
    )
    project = project_of(layout, environment)
    folder = layout.home / "compose"
    folder.mkdir(exist_ok=True, mode=0o700)
    for part in PARTS:
        decided = environment_of(part, wiring) | _inside(part, project)
        asked = _asked(part, environment, decided)
        _write(folder / f"{part.name}.env", _lines(_usual(part, layout, environment) | decided | asked))
    _write(folder / "streams.env", _lines(_of_streams(wiring)))
    _write(folder / "postgres.env", _lines(_of_postgres(credentials)))
    nats = NatsServer(
        layout.nats,
        CONTAINER_PORTS["gateway"],
        users=nats_users(credentials),
        issuer=nats_issuer(credentials),
    ).config()
    nats |= {"listen": "0.0.0.0:4222", "http": "127.0.0.1:8222"}
    nats["jetstream"] |= {"store_dir": "/data/jetstream"}
    _write(folder / "nats.conf", json.dumps(nats, indent=2) + "\n")
    return _variables(layout, folder, environment) | {
        "COMPOSE_PROJECT_NAME": project,
        "SANDBOX_INSTALLATION": wiring.installation,
    }


def project_of(layout: Layout, environment: Mapping[str, str]) -> str:
    """What Compose calls the stack; several on one engine differ by their ports."""
    usual = "runyard" if layout.port_base == DEFAULT_PORT_BASE else f"runyard-{layout.port_base}"
    return environment.get("COMPOSE_PROJECT_NAME") or usual


def _variables(layout: Layout, folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    uid, gid = (os.getuid(), os.getgid()) if os.getuid() else (UNPRIVILEGED, UNPRIVILEGED)
    imports = Path(environment.get("RUNYARD_IMPORTS") or layout.home / "imports")
    data = [layout.workspaces, layout.agents, layout.home / "nats-data", layout.home / "postgres-data"]
    data += [layout.agents / part.name for part in PARTS]
    for one in (*data, imports):
        one.mkdir(exist_ok=True, mode=0o700)
    if not os.getuid():
        for one in (*data, folder, *folder.iterdir()):
            os.chown(one, uid, gid)
        layout.home.chmod(layout.home.stat().st_mode | 0o011)  # to pass through, not to list
    socket = Path(urlsplit(environment.get("DOCKER_HOST") or DOCKER_SOCKET).path)
    return {
        "RUNYARD_HOME": str(layout.home),
        "RUNYARD_PORT_BASE": str(layout.port_base),
        "RUNYARD_UID": str(uid),
        "RUNYARD_GID": str(gid),
        "RUNYARD_IMPORTS": str(imports),
        "DOCKER_SOCKET": str(socket),
        "DOCKER_GID": str(socket.stat().st_gid if socket.exists() else gid),
        **{
            f"PORT_{name.upper().replace('-', '_')}": str(layout.port(name))
            for name in (*CONTAINER_PORTS, "postgres", "nats")
        },
    }


def _usual(part: Part, layout: Layout, environment: Mapping[str, str]) -> dict[str, str]:
    """What holds unless the user has said otherwise."""
    if part.name == "gateway" and environment.get("PREVIEW_SCHEME") != "https":
        # Previews are opened by the port of this machine; with https it is that of what encrypts.
        return {"PREVIEW_PUBLIC_PORT": str(layout.port(part.name))}
    return {}


def _inside(part: Part, project: str) -> dict[str, str]:
    """What is otherwise in a container than on the host."""
    inside = {"LOG_FORMAT": "json"}
    if part.name == "orchestrator":
        # The engine's network on which the proxy of sessions' containers finds the services.
        inside["SANDBOX_SERVICE_NETWORK"] = project
        # Processes of projects would have this service's container, and with it the engine's socket.
        inside["PREVIEW_PROCESSES"] = "false"
    if part.name == "runner-codex":
        # Codex's own sandbox needs namespaces that a container may not make.
        inside["CODEX_SANDBOX_TYPE"] = "danger-full-access"
    return inside


def _asked(part: Part, environment: Mapping[str, str], decided: Mapping[str, str]) -> dict[str, str]:
    """Settings of this service that the user has chosen in the environment."""
    names: set[str] = set()
    for name, field in load_settings_class(part).model_fields.items():
        alias = field.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias or name]
        names |= {choice.upper() for choice in choices if isinstance(choice, str)}
    taken = set(decided) | ELSEWHERE
    return {name: environment[name] for name in sorted(names - taken) if environment.get(name)}


def _of_streams(wiring: Wiring) -> dict[str, str]:
    user, password = wiring.nats_users[STACK]
    return {"NATS_URL": wiring.nats_url, "NATS_USER": user, "NATS_PASSWORD": password}


def _of_postgres(credentials: Credentials) -> dict[str, str]:
    return {
        "POSTGRES_USER": "postgres",
        "POSTGRES_PASSWORD": credentials.postgres_superuser_password,
        "RUNYARD_PASSWORD": credentials.postgres_password,
    }


def _lines(values: Mapping[str, str]) -> str:
    return "".join(f"{name}={_quoted(value)}\n" for name, value in sorted(values.items()))


def _quoted(value: str) -> str:
    """As Compose reads it: between single quotes nothing is replaced."""
    if "'" not in value:
        return f"'{value}'"
    for sign in ("\\", '"', "$"):
        value = value.replace(sign, f"\\{sign}")
    return f'"{value}"'


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)
