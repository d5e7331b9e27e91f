"""runner-claude, put together."""

from runyard_chassis.service import Service
from runyard_runner.service import build_runner
from runyard_runner_claude.adapters.agent import ClaudeAgent
from runyard_runner_claude.settings import Settings


def build(settings: Settings) -> Service:
    """The service that drives Claude."""
    agent = ClaudeAgent(settings.agents_root, model=settings.model, retries=settings.claude_max_retries)
    return build_runner("runner-claude", "claude", settings, agent)
