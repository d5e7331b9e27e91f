"""What can go wrong with an embedded server, each with what to do about it."""

from runyard_stack.errors import StackError


class EmbeddedError(StackError):
    """A server could not be started or did not stay up."""


class PortTaken(EmbeddedError):  # noqa: N818 - reads as the fact it is
    """Another process listens on the wanted port."""


class BrokenData(EmbeddedError):  # noqa: N818 - reads as the fact it is
    """The data folder is not one that this server can open."""
