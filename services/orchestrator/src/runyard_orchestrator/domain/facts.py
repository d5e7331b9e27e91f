"""An event as the domain sees it: the payload, its place, its writer, its cause."""

from dataclasses import dataclass
from datetime import datetime

from runyard_events.catalogue import Payload, Unknown

OWNER = "orchestrator"
"""The source of every event that this service writes."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One event of a lifecycle. `payload` None: its bytes could not be read, only its place counts."""

    payload: Payload | Unknown | None
    stream_seq: int
    at: datetime
    source: str = OWNER
    source_seq: int = 0
    cause: str | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """An event that was decided but not written yet: about a run, or about the session itself."""

    payload: Payload
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a command was turned down, in the fields of a problem."""

    status: int
    type: str
    detail: str


Decision = tuple[Planned, ...] | Refusal
