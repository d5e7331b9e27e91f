"""NATS and PostgreSQL of tests in containers: the servers that `compose.yaml` runs (`--servers containers`)."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from testcontainers.core.container import DockerContainer

from runyard_stack.embedded.errors import EmbeddedError
from runyard_stack.embedded.nats import NatsServer
from runyard_stack.embedded.ports import LOOPBACK
from runyard_stack.embedded.postgres import SUPERUSER, PostgresServer

START_SECONDS = 30.0
ENTRYPOINT = ["sh", "-c", 'exec "$(command -v docker-entrypoint.sh || command -v start-postgres)" "$@"', "start"]
LABEL = "runyard.test"


@cache
def images(repository: Path) -> Mapping[str, str]:
    """NATS_IMAGE and POSTGRES_IMAGE, as compose.yaml gets them."""
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")  # its image may be out of reach; we reap ourselves
    script = repository / "tools" / "server_images.sh"
    done = subprocess.run([script], stdout=subprocess.PIPE, text=True, check=True)
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


class ContainerNats(NatsServer):
    """NATS without users in a container, on the port that the embedded one would have."""

    image = ""

    def start(self, timeout: float = START_SECONDS) -> None:
        """Raises EmbeddedError when it does not come up."""
        self._container = _container(self.image, 4222, self.port, "/data").with_kwargs(
            entrypoint=["nats-server", "--jetstream", "--store_dir", "/data/jetstream"],
            labels={LABEL: "servers"},
        )
        self._container.start()
        _wait("NATS", self._container, self.ready, timeout)

    def stop(self, timeout: float = 0) -> None:  # noqa: ARG002 - nothing of it is kept
        """Removes it with its data."""
        self._container.stop()


class ContainerPostgres(PostgresServer):
    """PostgreSQL with pgvector in a container, on the port that the embedded one would have."""

    image = ""

    def start(self, timeout: float = START_SECONDS) -> None:
        """Raises EmbeddedError when it does not come up."""
        self._container = (
            _container(self.image, 5432, self.port, "/data")
            .with_env("POSTGRES_USER", SUPERUSER)
            .with_env("POSTGRES_PASSWORD", self.password)
            .with_env("PGDATA", "/data/cluster")
            .with_command(["postgres", "-c", "fsync=off", "-c", "max_connections=200"])
            .with_kwargs(entrypoint=ENTRYPOINT, labels={LABEL: "servers"})
        )
        self._container.start()
        ask = ["pg_isready", "--quiet", "--host", LOOPBACK, "--username", SUPERUSER]
        _wait("PostgreSQL", self._container, lambda: self._container.exec(ask).exit_code == 0, timeout)

    def stop(self, timeout: float = 0) -> None:  # noqa: ARG002 - nothing of it is kept
        """Removes it with its data."""
        self._container.stop()


def _container(image: str, inside: int, port: int, data: str) -> DockerContainer:
    container = DockerContainer(image)
    container.tmpfs = {data: "mode=1777"}
    ports: Any = container.ports
    ports[f"{inside}/tcp"] = (LOOPBACK, port)
    return container


def _wait(name: str, container: DockerContainer, ready: Callable[[], bool], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > deadline:
            logs = b"".join(container.get_logs()).decode(errors="replace")[-2000:]
            container.stop()
            raise EmbeddedError(f"{name} did not come up in its container.\n{logs}", "See `docker logs`.")
        time.sleep(0.1)
