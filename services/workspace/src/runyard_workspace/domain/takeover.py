"""Whether a session's branch goes to where its container has it."""

from typing import Literal

Verdict = Literal["nothing", "forward", "rewritten", "conflict"]


def verdict(*, ours: str | None, theirs: str | None, agreed: str | None, forward: bool) -> Verdict:
    """Decides about the branch of a session.

    Args:
        ours: where the managed copy has it.
        theirs: where the container has it.
        agreed: where both had it last.
        forward: whether theirs has all commits of ours.
    """
    if theirs is None or theirs in (ours, agreed):
        return "nothing"  # nothing new in there; that the managed copy is further on is no matter of the container
    if ours is None or forward:
        return "forward"
    # Commits that came from the container alone may be amended there; those that others have made may not.
    return "rewritten" if ours == agreed else "conflict"
