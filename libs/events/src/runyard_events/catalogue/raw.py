"""The agent's own lines, untouched but for redacted secrets: the payload is the native JSON itself."""

from typing import Any, ClassVar

from pydantic import RootModel

from runyard_events.catalogue.base import Family


class RawReceived(RootModel[Any]):
    """A line that the agent wrote."""

    TYPE: ClassVar[str] = "raw.received"
    FAMILY: ClassVar[Family] = "raw"
    VERSION: ClassVar[int] = 1


class RawSent(RootModel[Any]):
    """A line that the runner wrote to the agent (answers, interrupts)."""

    TYPE: ClassVar[str] = "raw.sent"
    FAMILY: ClassVar[Family] = "raw"
    VERSION: ClassVar[int] = 1
