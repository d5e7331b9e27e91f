"""Problems across a command: into a Reply on one side, raised again on the other."""

from runyard_chassis.problems import InternalError, Problem
from runyard_events.commands import Reply, ReplyProblem


def refusal(problem: Problem) -> Reply:
    """The reply that tells a sender why its command was refused."""
    return Reply(
        ok=False,
        problem=ReplyProblem(
            status=problem.status,
            type=problem.type,
            title=problem.title,
            detail=problem.detail or "",
            extra=problem.extra,
        ),
    )


def raise_for_problem(reply: Reply) -> Reply:
    """The reply, or its problem raised on this side.

    Raises:
        Problem: the command was refused.
    """
    if reply.ok:
        return reply
    if reply.problem is None:
        raise InternalError("The command failed.")
    told = reply.problem
    raise Problem(told.status, told.type, told.title, told.detail or None, **told.extra)
