"""Runs as tests see them: a long one of the scripted model, and what is read from the stream of any."""

from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.conftest import Seen

LONG = "[[script: tokens 300 delay 40]]"
TERMINAL = {"run.completed", "run.error", "run.cancelled"}


def ends(events: list["Seen"]) -> list[str]:
    """The types of the events that end the run: one of a run that is whole."""
    return [one.type for one in events if one.type in TERMINAL]


def payloads(events: list["Seen"], wanted: str) -> list[Any]:
    """What the events of a type say."""
    return [one.payload for one in events if one.type == wanted]


def assert_gapless(events: list["Seen"]) -> None:
    """Nothing is missing, doubled or out of order: neither of any source nor in the stream's own numbers."""
    by_source: dict[str, list[int]] = defaultdict(list)
    for one in events:
        by_source[one.event["source"]].append(one.event["seq"])
    for source, numbers in by_source.items():
        assert numbers == list(range(1, len(numbers) + 1)), (source, numbers)
    identifiers = [one.id for one in events]
    assert identifiers == sorted(set(identifiers)), identifiers
