"""What the domain turns down, as the problem that its asker is told."""

from typing import Any

from runyard_chassis import Problem
from runyard_orchestrator.domain.facts import Refusal


def refused(refusal: Refusal, **more: Any) -> Problem:
    """The problem; `more` are further members of it."""
    return Problem(refusal.status, refusal.type, detail=refusal.detail, **more)
