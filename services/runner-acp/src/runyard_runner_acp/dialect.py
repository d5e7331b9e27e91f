"""The seam between a turn and the protocol that its agent speaks."""

from collections.abc import Mapping
from typing import Any, Protocol

from runyard_events.catalogue import Payload
from runyard_runner.adapter import Ask, Decision, TurnEnd

Message = Mapping[str, Any]


class Translator(Protocol):
    """Native messages of one turn to neutral payloads. Pure: it remembers, and reads nothing."""

    def neutral(self, message: Message) -> tuple[Payload, ...]:
        """The neutral events of one native message."""
        ...

    def end(self, message: Message) -> TurnEnd | None:
        """How the turn ended, when this message says that it did."""
        ...

    def ask(self, message: Message) -> Ask | None:
        """What one of the agent's own requests asks of a person; None when no person can answer it."""
        ...

    def response(self, message: Message, decision: Decision) -> dict[str, Any]:
        """The result that tells the agent what was decided."""
        ...
