"""What every payload of the catalogue declares about itself."""

from typing import Any, ClassVar, Literal

from pydantic import RootModel

from runyard_events.model import Wire

Family = Literal["lifecycle", "ui", "raw", "llm", "effect", "sandbox", "telemetry"]
FAMILIES: tuple[Family, ...] = ("lifecycle", "ui", "raw", "llm", "effect", "sandbox", "telemetry")


class Payload(Wire):
    """The content of an event.

    `TYPE` names it on the wire, `FAMILY` decides the subject that it is kept under, `VERSION`
    counts the shapes that this type has had (see `upcast.py`).
    """

    TYPE: ClassVar[str]
    FAMILY: ClassVar[Family]
    VERSION: ClassVar[int] = 1


class Unknown(RootModel[Any]):
    """The payload of a type that this build does not know: kept as it came, passed on untouched."""

    TYPE: ClassVar[str] = "unknown"
    FAMILY: ClassVar[Family] = "ui"
    VERSION: ClassVar[int] = 1
