"""An event as it stands in the log: its bytes, its place, and the rest only when asked for."""

from dataclasses import dataclass
from functools import cached_property

from runyard_events.codec import decode
from runyard_events.envelope import Envelope
from runyard_events.errors import Malformed
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

        Who may write on a subject is checked by the server, what an envelope says of itself by nobody: one that
        says to be elsewhere than where it stands is none.

        Raises:
            Malformed: the stored bytes are not an event, or not one of this subject.
        """
        event, here = decode(self.data), self.address
        stands = (here.tenant_id, here.session_id, here.run_id, here.family)
        if (event.tenant_id, event.session_id, event.run_id, event.kind) != stands:
            raise Malformed("an event says to be of something else than its subject")
        return event
