"""How Codex is configured: its command line, its environment, and the parameters of a thread. Pure."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runyard_runner.adapter import AgentStart
from runyard_runner_codex.settings import Settings

PROVIDER = "run"


def command_line(binary: Path, settings: Settings) -> list[str]:
    """The app server with everything turned off that would reach out of the machine."""
    gateway = f"{settings.llm_gateway_url}/v1"
    values = {
        # Without a run's own provider there is no token, so nothing can be asked of the model.
        "model_provider": '"runyard"',
        "model_providers.runyard.name": '"runyard"',
        "model_providers.runyard.base_url": f'"{gateway}"',
        "model_providers.runyard.wire_api": '"responses"',
        "tools.update_plan.enabled": "true",
        "features.plugins": "false",
        # A login shell per thread, to know its variables: commands run in one anyway.
        "features.shell_snapshot": "false",
        # Without it a question of the agent is answered by Codex itself, with nothing.
        "features.default_mode_request_user_input": "true",
        "suppress_unstable_features_warning": "true",
        "features.unbounded_connection_retries": "false",
        "shell_environment_policy.ignore_default_excludes": "false",
        "sandbox_workspace_write.network_access": "true" if settings.codex_network_access else "false",
        "check_for_update_on_startup": "false",
        "analytics.enabled": "false",
    }
    options = [part for key, value in values.items() for part in ("-c", f"{key}={value}")]
    return [str(binary), "app-server", *options]


def environment(allowed: Mapping[str, str], home: Path) -> dict[str, str]:
    """The whitelisted environment with Codex's home, which must not lie below the temporary folder."""
    return {**allowed, "CODEX_HOME": str(home), "TMPDIR": str(home / "tmp")}


def thread_parameters(start: AgentStart, settings: Settings) -> dict[str, Any]:
    """Parameters of thread/start and thread/resume: the session's place, policy and way to the model.

    The way to the model outlives the run, the run's token does not: Codex reads it from a file whenever it
    asks the model. (A bearer token in here would be kept until the thread is loaded anew, which takes 30 ms.)
    """
    return {
        "cwd": str(start.cwd),
        "sandbox": settings.codex_sandbox_type,
        "approvalsReviewer": "user",
        "modelProvider": PROVIDER,
        "config": {
            "model_providers": {
                PROVIDER: {
                    "name": "Runyard",
                    "base_url": f"{start.model_base_url}/v1",
                    "wire_api": "responses",
                    # Together about ten seconds: a gateway that is restarted costs no run.
                    "request_max_retries": 2,
                    "stream_max_retries": 5,
                    "auth": {
                        "command": shutil.which("cat", path=start.env.get("PATH")) or "/bin/cat",
                        "args": [str(token_file(start.home))],
                        "refresh_interval_ms": 1,
                        "timeout_ms": 5000,
                    },
                }
            }
        },
        **_of_the_run(start, settings),
    }


def turn_parameters(start: AgentStart, thread: str, settings: Settings) -> dict[str, Any]:
    """Parameters of turn/start."""
    return {
        "threadId": thread,
        "input": [{"type": "text", "text": start.prompt}],
        **_of_the_run(start, settings),
    }


def token_file(home: Path) -> Path:
    """Where Codex finds the token of the run that it works on."""
    return home / "run-token"


def _of_the_run(start: AgentStart, settings: Settings) -> dict[str, Any]:
    asks = start.approval_policy
    if asks == "on-request" and settings.codex_sandbox_type == "danger-full-access":
        # Codex asks "on request" only before it leaves its own sandbox: without one it would never ask.
        asks = "untrusted"
    policy = {"approvalPolicy": asks}
    return {**policy, "model": start.model} if start.model else policy
