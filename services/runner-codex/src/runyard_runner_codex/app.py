"""runner-codex, put together."""

from runyard_chassis.service import Service
from runyard_runner.service import build_runner
from runyard_runner_codex.adapters.agent import CodexAgent
from runyard_runner_codex.settings import Settings


def build(settings: Settings) -> Service:
    """The service that drives Codex."""
    agent = CodexAgent(settings)
    return build_runner("runner-codex", "codex", settings, agent, prepare=agent.prepare)
