"""gemini-cli's own files and environment: the way to the model, and what it may do without asking."""

import json
from pathlib import Path
from typing import Any

from runyard_runner.adapter import AgentStart

HARMLESS = """\
[[rule]]
toolName = ["write_todos", "update_topic"]
decision = "allow"
priority = 900
"""
EVERYTHING = """\
[[rule]]
toolName = "*"
decision = "allow"
priority = 900
allowRedirection = true

[[rule]]
toolName = ["ask_user", "enter_plan_mode", "exit_plan_mode"]
decision = "deny"
priority = 901
"""
"""Nothing waits for a person. The agent's own mode for that would first have to trust the repository's settings."""
SETTINGS: dict[str, Any] = {
    "general": {
        "enableAutoUpdate": False,
        "enableAutoUpdateNotification": False,
        "sessionRetention": {"enabled": False},
    },
    "privacy": {"usageStatisticsEnabled": False},
    "telemetry": {"enabled": False},
}


def environment(start: AgentStart, model: str) -> dict[str, str]:
    """Which model, and where. The run's token is told when the session opens, and is nowhere else."""
    return {
        "GOOGLE_GEMINI_BASE_URL": start.model_base_url,
        "GEMINI_MODEL": model,
        "GEMINI_CLI_NO_RELAUNCH": "true",  # a second process of the same, for more memory than a run needs
    }


def write(start: AgentStart) -> None:
    """Write its settings and rules anew: the session's home outlives the run, the policy of runs may change."""
    folder = start.home / ".gemini"
    (folder / "policies").mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / "settings.json").write_text(json.dumps(SETTINGS))
    rules = EVERYTHING if start.approval_policy == "never" else HARMLESS
    (folder / "policies" / "runyard.toml").write_text(rules)
    if start.native_thread_id:
        keep_apart(folder, start.native_thread_id)


def keep_apart(folder: Path, thread: str) -> None:
    """Move a conversation out of the way of its own resumption.

    A session that is opened again begins a file named by the minute and by its id, before it looks for the
    conversation; within the minute in which it was made it would empty the very file that it looks for.
    """
    kept = f"session-kept-{thread[:8]}.jsonl"
    for chats in folder.glob("tmp/*/chats"):
        files = [one for one in chats.iterdir() if one.name.endswith(f"-{thread[:8]}.jsonl")]
        if files and not (chats / kept).exists():
            max(files, key=lambda one: one.stat().st_size).rename(chats / kept)
