"""What can go wrong with an embedded server, each with what to do about it."""

from runyard_stack.errors import StackError


class EmbeddedError(StackError):
    """A server could not be started or did not stay up."""


class PortTaken(EmbeddedError):
    """Another process listens on the wanted port."""


class BrokenData(EmbeddedError):
    """The data folder is not one that this server can open."""
