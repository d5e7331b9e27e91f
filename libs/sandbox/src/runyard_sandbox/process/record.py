"""What is remembered of a process on disk, so that a restarted service finds it again."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from runyard_sandbox.process.identity import Identity

if TYPE_CHECKING:
    from runyard_sandbox.provisioner import Purpose

LOG = "output.log"
_RECORD, _RUNNING, _ENDED = "record.json", "running.json", "ended.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is to run, for whom. The environment is in it: the folder is private."""

    name: str
    purpose: "Purpose"
    tenant_id: str
    owner_id: str
    epoch: int
    command: tuple[str, ...]
    env: Mapping[str, str]
    working_directory: str
    ports: tuple[int, ...]
    memory_bytes: int
    processes: int
    created_at: str


@dataclass(frozen=True, slots=True)
class Running:
    """The supervisor, and the leader of the process group that it started."""

    supervisor: Identity
    leader: Identity


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended. 128 and the signal's number when one ended it."""

    exit_code: int
    out_of_memory: bool = False
    reason: str | None = None


class Folder:
    """One sandbox's records, private to the stack."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path / LOG

    def create(self, record: Record) -> None:
        """Makes the folder; `home` in it is the process's own."""
        self.path.mkdir(parents=True, mode=0o700, exist_ok=True)
        (self.path / "home").mkdir(exist_ok=True)
        self._write(_RECORD, asdict(record))

    def record(self) -> Record | None:
        """None when there is none, or none that can be read."""
        data = self._read(_RECORD)
        if data is None:
            return None
        data["command"], data["ports"] = tuple(data["command"]), tuple(data["ports"])
        return Record(**data)

    def began(self, running: Running) -> None:
        """It runs; how a former one ended is forgotten."""
        (self.path / _ENDED).unlink(missing_ok=True)
        self._write(_RUNNING, asdict(running))

    def running(self) -> Running | None:
        """The last one that ran, whether it does still or not."""
        data = self._read(_RUNNING)
        return None if data is None else Running(Identity(**data["supervisor"]), Identity(**data["leader"]))

    def end(self, ended: Ended) -> None:
        """It ended."""
        self._write(_ENDED, asdict(ended))

    def ended(self) -> Ended | None:
        """How it ended; None: it has not, or nobody was left to say."""
        data = self._read(_ENDED)
        return None if data is None else Ended(**data)

    def _write(self, name: str, data: object) -> None:
        temporary = self.path / f".{name}.{os.getpid()}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(data, file)
        temporary.replace(self.path / name)

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            return cast("dict[str, Any]", json.loads((self.path / name).read_text()))
        except (OSError, ValueError):
            return None
