"""gemini-cli's own files and environment: the way to the model, and what it does without asking."""

import json
import shutil
from pathlib import Path
from typing import Any

from runyard_runner.adapter import AgentStart

RULES = """\
[[rule]]
toolName = ["write_todos", "update_topic"]
decision = "allow"
priority = 900

[[rule]]
toolName = "enter_plan_mode"
decision = "deny"
priority = 900
"""
"""What touches nothing needs nobody's word; and who may do what is decided here, not by a mode of the agent's own."""
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
    """Write its settings and rules: the session's home outlives the run, and the agent may have changed them."""
    folder = start.home / ".gemini"
    shutil.rmtree(folder / "policies", ignore_errors=True)
    (folder / "policies").mkdir(parents=True, mode=0o700)
    (folder / "trustedFolders.json").unlink(missing_ok=True)
    (folder / "settings.json").write_text(json.dumps(SETTINGS))
    (folder / "policies" / "runyard.toml").write_text(RULES)
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
