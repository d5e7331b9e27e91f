"""An event as it stands in the log: its bytes, its place, and the rest only when asked for."""

from dataclasses import dataclass
from functools import cached_property

from runyard_events.codec import decode
from runyard_events.envelope import Envelope
from runyard_events.subjects import Address, parse


@dataclass(frozen=True)
class StoredEvent:
    """A message of the EVENTS stream. `stream_seq` is its place: monotonic, gapless for nobody but the log."""

    stream_seq: int
    subject: str
    data: bytes
    pending: int = 0
    """How many messages of the same replay were still to come when this one was delivered."""

    @cached_property
    def address(self) -> Address:
        """The subject taken apart."""
        return parse(self.subject)

    @property
    def family(self) -> str:
        """The last token of the subject; costs no decoding."""
        return self.subject.rpartition(".")[2]

    @cached_property
    def event(self) -> Envelope:
        """The decoded, upcast envelope.

        Raises:
            Malformed: the stored bytes are not an event.
        """
        return decode(self.data)
