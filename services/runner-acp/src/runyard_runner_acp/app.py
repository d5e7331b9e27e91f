"""runner-acp, put together."""

from runyard_chassis.service import Service
from runyard_runner.service import build_runner
from runyard_runner_acp.adapters.agent import agents
from runyard_runner_acp.settings import Settings


def build(settings: Settings) -> Service:
    """The service that drives opencode, Droid and Gemini CLI; its own HTTP threads are opencode's."""
    return build_runner("runner-acp", "opencode", settings, agents(settings))
