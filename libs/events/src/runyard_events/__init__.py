"""The event contract: envelope, catalogue, subjects, topology, append, replay, projection.

What needs a database is loaded when it is first asked for: the runner in a sandbox has none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from runyard_events.codec import decode, encode
from runyard_events.commands import (
    Command,
    CommandBus,
    CommandPayload,
    Reply,
    ReplyProblem,
    command,
    decode_command,
)
from runyard_events.connection import connect
from runyard_events.dead_letters import bury
from runyard_events.envelope import Envelope, stamp
from runyard_events.errors import CommandTimeout, Conflict, EventError, LogUnavailable, Malformed
from runyard_events.ids import derived_id, event_id, new_id
from runyard_events.leases import Lease, Leases
from runyard_events.log import Append, EventLog
from runyard_events.permissions import permissions_for
from runyard_events.reader import Reader
from runyard_events.redact import Redactor, StreamRedactor, fingerprint
from runyard_events.stored import StoredEvent
from runyard_events.subjects import Address, Scope
from runyard_events.topology import ensure_topology
from runyard_events.writer import Writer

if TYPE_CHECKING:
    from runyard_events.inbox import Inbox
    from runyard_events.projector import Projector
    from runyard_events.tables import checkpoint_table, inbox_table

_WITH_DATABASE = {
    "Inbox": "inbox",
    "Projector": "projector",
    "checkpoint_table": "tables",
    "inbox_table": "tables",
}

__all__ = [
    "Address",
    "Append",
    "Command",
    "CommandBus",
    "CommandPayload",
    "CommandTimeout",
    "Conflict",
    "Envelope",
    "EventError",
    "EventLog",
    "Inbox",
    "Lease",
    "Leases",
    "LogUnavailable",
    "Malformed",
    "Projector",
    "Reader",
    "Redactor",
    "Reply",
    "ReplyProblem",
    "Scope",
    "StoredEvent",
    "StreamRedactor",
    "Writer",
    "bury",
    "checkpoint_table",
    "command",
    "connect",
    "decode",
    "decode_command",
    "derived_id",
    "encode",
    "ensure_topology",
    "event_id",
    "fingerprint",
    "inbox_table",
    "new_id",
    "permissions_for",
    "stamp",
]


def __getattr__(name: str) -> Any:
    if name not in _WITH_DATABASE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WITH_DATABASE[name]}"), name)
