"""Where a stack keeps its data and which ports it uses.

The data folder belongs to the user, not to the current directory: `runyard run` in any repository and in
any terminal has to find the stack that `runyard up` started in another one.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runyard_stack.errors import StackError

HOST = "127.0.0.1"
DEFAULT_PORT_BASE = 9100
HIGHEST_OFFSET = 12
LOWEST_BASE = 1024
OFFSETS: Mapping[str, int] = {
    "console": 0,
    "gateway": 1,
    "runner-codex": 2,
    "postgres": 3,
    "runner-claude": 4,
    "prompt-manager": 5,
    "evaluation": 6,
    "memory": 7,
    "llm-gateway": 8,
    "orchestrator": 9,
    "workspace": 10,
    "nats": 11,
    "runner-acp": HIGHEST_OFFSET,
}


@dataclass(frozen=True)
class Layout:
    """Folders and ports of one stack."""

    home: Path
    port_base: int = DEFAULT_PORT_BASE

    @property
    def nats(self) -> Path:
        """The event log and the configuration of its server."""
        return self.home / "nats"

    @property
    def postgres(self) -> Path:
        """The projections: all of it can be rebuilt from the event log."""
        return self.home / "postgres"

    @property
    def workspaces(self) -> Path:
        """Clones and worktrees."""
        return self.home / "workspaces"

    @property
    def agents(self) -> Path:
        """Homes of the agents: their threads, one folder per session."""
        return self.home / "agents"

    @property
    def taken_down(self) -> Path:
        """A file that says so while all of the stack is being taken down; the next start removes it."""
        return self.agents / "orchestrator" / "taken-down"

    @property
    def logs(self) -> Path:
        """Logs of a detached stack and of services that run as processes."""
        return self.home / "logs"

    @property
    def credentials(self) -> Path:
        """Keys, passwords and the ids of the first tenant and admin; 0600."""
        return self.home / "secrets.json"

    @property
    def state(self) -> Path:
        """What the running stack says about itself."""
        return self.home / "state.json"

    @property
    def lock(self) -> Path:
        """Held by the one running stack."""
        return self.home / "lock"

    def port(self, name: str) -> int:
        """The port of a service or server."""
        return self.port_base + OFFSETS[name]

    def address(self, name: str) -> str:
        """The HTTP address of a service."""
        return f"http://{HOST}:{self.port(name)}"

    def create(self) -> None:
        """Make the folders; what others may not see is closed to them.

        Raises:
            StackError: a folder cannot be made or written.
        """
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            for folder in (self.workspaces, self.agents, self.logs):
                folder.mkdir(exist_ok=True, mode=0o700)
            probe = self.home / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise StackError(
                f"The data folder {self.home} cannot be used: {error.strerror or error}.",
                "Give this user the folder, or choose another one with RUNYARD_HOME.",
            ) from error


def default_home(environment: Mapping[str, str]) -> Path:
    """`$XDG_DATA_HOME/runyard`, that is `~/.local/share/runyard`."""
    data = environment.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "runyard"


def layout_from_environment(environment: Mapping[str, str] = os.environ) -> Layout:
    """The stack that RUNYARD_HOME and RUNYARD_PORT_BASE choose.

    Raises:
        StackError: RUNYARD_PORT_BASE is not a usable number.
    """
    chosen = environment.get("RUNYARD_HOME")
    home = Path(chosen).expanduser() if chosen else default_home(environment)
    return Layout(home.absolute(), _port_base(environment.get("RUNYARD_PORT_BASE")))


def _port_base(text: str | None) -> int:
    if not text:
        return DEFAULT_PORT_BASE
    highest = 65535 - HIGHEST_OFFSET
    if text.isascii() and text.isdigit() and LOWEST_BASE <= int(text) <= highest:
        return int(text)
    raise StackError(
        f"RUNYARD_PORT_BASE is {text!r}.",
        f"It has to be a number from {LOWEST_BASE} to {highest}; the default is {DEFAULT_PORT_BASE}.",
    )
