"""Runs of the scripted model: a long one, and what is read from the stream of any."""

from typing import TYPE_CHECKING, Any

from tests.conftest import TERMINAL

if TYPE_CHECKING:
    from tests.conftest import Seen

LONG = "[[script: tokens 300 delay 40]]"


def ends(events: list["Seen"]) -> list[str]:
    return [one.type for one in events if one.type in TERMINAL]


def payloads(events: list["Seen"], wanted: str) -> list[Any]:
    return [one.payload for one in events if one.type == wanted]
