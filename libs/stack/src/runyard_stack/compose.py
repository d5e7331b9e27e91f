"""What `compose.yaml` reads beside itself: the settings and secrets of each container, in a private folder.

The folder is made from the same credentials as an embedded stack, so `runyard token`, `run` and the other
commands work on a composed stack as they do on one's own.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runyard_stack.accounts import NATS_USERS, STACK, nats_users
from runyard_stack.credentials import load_credentials
from runyard_stack.embedded.nats import NatsServer
from runyard_stack.layout import Layout
from runyard_stack.secrecy import redactor
from runyard_stack.services import PARTS, Part, Wiring, environment_of

CONTAINER_PORTS: Mapping[str, int] = {
    "gateway": 8080,
    "runner-codex": 8081,
    "runner-claude": 8082,
    "llm-gateway": 8086,
    "orchestrator": 8087,
    "workspace": 8088,
}
UNPRIVILEGED = 10001
DATABASE = "runyard"


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
    folder = layout.home / "compose"
    folder.mkdir(exist_ok=True, mode=0o700)
    for part in PARTS:
        _write(folder / f"{part.name}.env", _lines(environment_of(part, wiring) | _more(part, environment)))
    _write(folder / "streams.env", _lines(_of_streams(wiring)))
    _write(folder / "postgres.env", _lines(_of_postgres(credentials.postgres_password)))
    nats = NatsServer(layout.nats, CONTAINER_PORTS["gateway"], users=nats_users(credentials)).config()
    nats |= {"listen": "0.0.0.0:4222", "http": "127.0.0.1:8222"}
    nats["jetstream"] |= {"store_dir": "/data/jetstream"}
    _write(folder / "nats.conf", json.dumps(nats, indent=2) + "\n")
    return _variables(layout, folder)


def _variables(layout: Layout, folder: Path) -> dict[str, str]:
    uid, gid = (os.getuid(), os.getgid()) if os.getuid() else (UNPRIVILEGED, UNPRIVILEGED)
    data = [layout.workspaces, layout.agents, layout.home / "nats-data", layout.home / "postgres-data"]
    for one in data:
        one.mkdir(exist_ok=True, mode=0o700)
    if not os.getuid():
        for one in (*data, folder, *folder.iterdir()):
            os.chown(one, uid, gid)
        layout.home.chmod(layout.home.stat().st_mode | 0o011)  # to pass through, not to list
    socket = Path("/var/run/docker.sock")
    return {
        "RUNYARD_HOME": str(layout.home),
        "RUNYARD_PORT_BASE": str(layout.port_base),
        "RUNYARD_UID": str(uid),
        "RUNYARD_GID": str(gid),
        "DOCKER_GID": str(socket.stat().st_gid if socket.exists() else gid),
        **{
            f"PORT_{name.upper().replace('-', '_')}": str(layout.port(name))
            for name in (*CONTAINER_PORTS, "postgres", "nats")
        },
    }


def _more(part: Part, environment: Mapping[str, str]) -> dict[str, str]:
    if part.name != "orchestrator":
        return {}
    chosen = {name: value for name, value in environment.items() if name == "SANDBOX" or name.startswith("SANDBOX_")}
    return {"SANDBOX_SERVICE_NETWORK": "runyard", **chosen}


def _of_streams(wiring: Wiring) -> dict[str, str]:
    user, password = wiring.nats_users[STACK]
    return {"NATS_URL": wiring.nats_url, "NATS_USER": user, "NATS_PASSWORD": password}


def _of_postgres(password: str) -> dict[str, str]:
    return {"POSTGRES_USER": DATABASE, "POSTGRES_PASSWORD": password, "POSTGRES_DB": DATABASE}


def _lines(values: Mapping[str, Any]) -> str:
    return "".join(f"{name}={value}\n" for name, value in sorted(values.items()))


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)
