"""Compose files as previews understand them: which service is the page, and what it and those that it needs are.

What a preview can do without is passed over, what it cannot give is refused by its name; no key is unknown.
"""

from runyard_orchestrator.domain.compose.model import Bind, Check, Condition, ImageBuild, NotServed, Service
from runyard_orchestrator.domain.compose.project import FILES, Project, parse

__all__ = ["FILES", "Bind", "Check", "Condition", "ImageBuild", "NotServed", "Project", "Service", "parse"]
