"""Deltas gathered into fewer, larger events while the log is busy. Pure.

The first delta leaves at once; what arrives while it is being written is joined, per item, up to 1 KB.
Everything else keeps its place: a delta never overtakes an event of another kind, and no such event
overtakes a delta. Raw lines are not joined and stand before the deltas that they caused.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from runyard_events.catalogue import (
    AnyPayload,
    AssistantDelta,
    AssistantFinal,
    RawReceived,
    RawSent,
    ReasoningDelta,
    ReasoningFinal,
    ToolArgumentsDelta,
    ToolOutputDelta,
    ToolResult,
)
from runyard_events.redact import Redactor, StreamRedactor

JOINED = 1024
"""Characters of one event of joined deltas."""

Delta = AssistantDelta | ReasoningDelta | ToolOutputDelta | ToolArgumentsDelta
ItemKey = tuple[type[Delta], str | None]


@dataclass(slots=True, eq=False)
class Entry:
    """A payload on its way into the log. `id` is set when it has been stamped."""

    payload: AnyPayload
    at: datetime
    cause: "Entry | None" = None
    id: str | None = None


@dataclass(slots=True)
class _Held:
    first: Entry
    key: ItemKey
    parts: list[str]
    size: int


def delta_of(payload: AnyPayload) -> tuple[ItemKey, str] | None:
    """The item and the text of a delta; None for every other payload."""
    match payload:
        case AssistantDelta(message_id=item, text_delta=text):
            return (AssistantDelta, item), text
        case ReasoningDelta(item_id=item, text_delta=text):
            return (ReasoningDelta, item), text
        case ToolOutputDelta(call_id=item, text_delta=text):
            return (ToolOutputDelta, item), text
        case ToolArgumentsDelta(call_id=item, text_delta=text):
            return (ToolArgumentsDelta, item), text
        case _:
            return None


def make_delta(key: ItemKey, text: str) -> Delta:
    """The delta event of an item with this text."""
    kind, item = key
    if kind is AssistantDelta:
        return AssistantDelta(text_delta=text, message_id=item)
    if kind is ReasoningDelta:
        return ReasoningDelta(text_delta=text, item_id=item)
    if kind is ToolOutputDelta:
        return ToolOutputDelta(text_delta=text, call_id=item)
    return ToolArgumentsDelta(text_delta=text, call_id=item)


@dataclass(slots=True)
class Gathered:
    """What waits to be written, in order.

    With a redactor the text of each item passes a stream of its own, so that a secret which arrives in
    pieces is recognised; the raw line that brought a piece is changed in the same way.
    """

    redactor: Redactor | None = None
    joined: int = JOINED
    entries: list[Entry] = field(default_factory=list[Entry])
    pressing: bool = False
    """Something waits that is no delta and no raw line, or more than one event's worth of deltas."""
    _held: _Held | None = None
    _streams: dict[ItemKey, StreamRedactor] = field(default_factory=dict[ItemKey, StreamRedactor])

    def __len__(self) -> int:
        return len(self.entries) + (self._held is not None)

    def add(self, entry: Entry) -> None:
        """Take one more event."""
        delta = delta_of(entry.payload)
        if delta is not None:
            self._add_delta(entry, *delta)
        elif isinstance(entry.payload, RawReceived | RawSent):
            self.entries.append(entry)
        else:
            self._end_item(entry)
            self._settle()
            self.entries.append(entry)
            self.pressing = True

    def take(self) -> list[Entry]:
        """Everything that waits; afterwards nothing does."""
        self._settle()
        taken, self.entries = self.entries, []
        self.pressing = False
        return taken

    def finish(self, at: datetime) -> list[Entry]:
        """Everything that waits, with the texts that were kept back."""
        self._settle()
        for key in list(self._streams):
            self._release(key, at)
        return self.take()

    def _add_delta(self, entry: Entry, key: ItemKey, text: str) -> None:
        if self.redactor is not None:
            shown = self._streams.setdefault(key, self.redactor.stream()).feed(text)
            if shown != text and entry.cause is not None:
                _rewrite(entry.cause, text, shown)
            text = shown
        if not text:
            return
        held = self._held
        if held is not None and held.key == key and held.size + len(text) <= self.joined:
            held.parts.append(text)
            held.size += len(text)
            held.first.cause = entry.cause
            return
        self.pressing = self.pressing or held is not None
        self._settle()
        self._held = _Held(entry, key, [text], len(text))

    def _settle(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.first.payload = make_delta(held.key, "".join(held.parts))
            self.entries.append(held.first)

    def _end_item(self, entry: Entry) -> None:
        for key in _items_ended_by(entry.payload):
            if key in self._streams:
                self._release(key, entry.at)

    def _release(self, key: ItemKey, at: datetime) -> None:
        rest = self._streams.pop(key).flush()
        if rest:
            self._settle()
            self.entries.append(Entry(make_delta(key, rest), at))


def _items_ended_by(payload: AnyPayload) -> tuple[ItemKey, ...]:
    match payload:
        case AssistantFinal(message_id=item):
            return ((AssistantDelta, item),)
        case ReasoningFinal(item_id=item):
            return ((ReasoningDelta, item),)
        case ToolResult(call_id=item):
            return ((ToolOutputDelta, item), (ToolArgumentsDelta, item))
        case _:
            return ()


def _rewrite(raw: Entry, text: str, shown: str) -> None:
    """The native line says what the neutral event says, where a secret made them differ."""
    if raw.id is None and isinstance(raw.payload, RawReceived | RawSent):
        raw.payload = type(raw.payload)(_replaced(raw.payload.root, text, shown))


def _replaced(value: Any, text: str, shown: str) -> Any:
    if isinstance(value, str):
        return shown if value == text else value
    if isinstance(value, dict):
        return {key: _replaced(item, text, shown) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [_replaced(item, text, shown) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value
