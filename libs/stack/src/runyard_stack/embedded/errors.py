"""What can go wrong with an embedded server, each with what to do about it."""


class EmbeddedError(Exception):
    """A server could not be started or did not stay up.

    Args:
        message: what happened, in one sentence.
        remedy: what a person can do about it, in one sentence.
    """

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message}\n  {remedy}")
        self.message = message
        self.remedy = remedy


class PortTaken(EmbeddedError):  # noqa: N818 - reads as the fact it is
    """Another process listens on the wanted port."""


class BrokenData(EmbeddedError):  # noqa: N818 - reads as the fact it is
    """The data folder is not one that this server can open."""
