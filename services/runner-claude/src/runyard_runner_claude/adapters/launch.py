"""How Claude's process is started for a run: environment and options."""

import json
from typing import Literal

from claude_agent_sdk import CanUseTool, ClaudeAgentOptions
from claude_agent_sdk import __version__ as sdk_version

from runyard_runner.adapter import AgentStart
from runyard_runner_claude.adapters.home import Home, Opening, accepted_mode, allow_rules
from runyard_runner_claude.asks import QUESTION_TOOL

# They outlive the run (timers), or move the work out of the session's worktree where nobody finds it.
NEVER_OFFERED = ("CronCreate", "CronDelete", "CronList", "ScheduleWakeup", "EnterWorktree", "ExitWorktree")


def environment(start: AgentStart, home: Home, *, retries: int) -> dict[str, str]:
    """Everything that Claude's process finds in its environment."""
    return {
        **start.env,
        "PWD": str(start.cwd),
        "ANTHROPIC_BASE_URL": start.model_base_url.rstrip("/"),
        "ANTHROPIC_CUSTOM_HEADERS": f"X-Run-Id: {start.run_id}",
        "CLAUDE_AGENT_SDK_VERSION": sdk_version,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS": "1",
        "CLAUDE_CODE_ENABLE_TASKS": "0",
        "CLAUDE_CODE_ENABLE_TODO_TOOLS": "1",
        "CLAUDE_CODE_ENTRYPOINT": "sdk-py",
        "CLAUDE_CODE_MAX_RETRIES": str(retries),
        "CLAUDE_CODE_TMPDIR": str(home.temporary),
        "CLAUDE_CONFIG_DIR": str(home.config),
        # Tools that have to be searched for need content blocks that only Anthropic's own endpoint knows.
        "ENABLE_TOOL_SEARCH": "false",
        "IS_SANDBOX": "1",
    }


def options(start: AgentStart, home: Home, opening: Opening, *, model: str | None) -> ClaudeAgentOptions:
    """The options of a run, without its permission callback.

    No settings but ours are read: a repository's own could run commands (hooks) or widen permissions.
    """
    asks = start.approval_policy == "on-request"
    grants = home.grants() if asks else []
    mode: Literal["acceptEdits", "default"] = "acceptEdits" if accepted_mode(grants) == "acceptEdits" else "default"
    settings = {"apiKeyHelper": home.key_helper, "permissions": {"allow": allow_rules(grants)}}
    return ClaudeAgentOptions(
        cwd=start.cwd,
        model=start.model or model,
        system_prompt={"type": "preset", "preset": "claude_code"},
        include_partial_messages=True,
        setting_sources=[],
        strict_mcp_config=True,
        settings=json.dumps(settings),
        permission_mode=mode if asks else "bypassPermissions",
        # A custom transport is not told by the SDK: without this `can_use_tool` never fires.
        permission_prompt_tool_name="stdio",
        disallowed_tools=[*NEVER_OFFERED, *([] if asks else [QUESTION_TOOL])],
        resume=opening.resume,
        session_id=opening.session_id,
        # A prompt is what a person wrote, not a command line: no @file expansion, no /commands.
        verbatim_prompts=True,
        forward_subagent_text=True,
    )


def control_options(start: AgentStart, may_use: CanUseTool) -> ClaudeAgentOptions:
    """The few options that the SDK's client acts on itself when the transport is not its own.

    It refuses a callback beside `permission_prompt_tool_name`, so the two sets are kept apart.
    """
    return ClaudeAgentOptions(
        cwd=start.cwd,
        can_use_tool=may_use,
        system_prompt={"type": "preset", "preset": "claude_code"},
        verbatim_prompts=True,
        forward_subagent_text=True,
    )
