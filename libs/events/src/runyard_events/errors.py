"""What can go wrong with the log, in the words of the log."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runyard_events.stored import StoredEvent


class EventError(Exception):
    """Base of all errors of this library."""


class Conflict(EventError):
    """A compare-and-set lost: the subject has moved on.

    `last` is the event that stands there now, or None when the subject is still empty.
    """

    def __init__(self, subject: str, expected: int | None, last: "StoredEvent | None") -> None:
        super().__init__(f"{subject}: expected last sequence {expected}, found {last.stream_seq if last else 0}")
        self.subject = subject
        self.expected = expected
        self.last = last


class LogUnavailable(EventError):
    """The event log did not answer in time. Whether the append took place is not known: repeat it."""


class Malformed(EventError):
    """Bytes that are not an event or a command of this contract."""


class CommandTimeout(EventError):
    """Nobody answered a command in time. It stays in the work queue and may still be carried out."""
