"""What every command declares about itself."""

from string import Formatter
from typing import ClassVar

from runyard_events.model import Wire


class CommandPayload(Wire):
    """The content of a command; `SUBJECT` is where it is queued, `TYPE` its name."""

    TYPE: ClassVar[str]
    SUBJECT: ClassVar[str]

    def subject(self) -> str:
        """Where this command is queued: `SUBJECT` with this command's own fields filled in."""
        return self.SUBJECT.format(**{name: getattr(self, name) for name in fields_of(self.SUBJECT)})


def fields_of(template: str) -> list[str]:
    """The names of the fields that a subject is filled in with."""
    return [name for _, name, _, _ in Formatter().parse(template) if name]
