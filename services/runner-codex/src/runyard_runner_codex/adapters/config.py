"""How Codex is configured: its command line, its environment, and the parameters of a thread. Pure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runyard_runner.adapter import AgentStart

from runyard_runner_codex.settings import Settings

PROVIDER = "run"
MASK = "[redacted]"


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
        "features.unbounded_connection_retries": "false",
        "shell_environment_policy.ignore_default_excludes": "false",
        "sandbox_workspace_write.network_access": "true" if settings.codex_network_access else "false",
        "check_for_update_on_startup": "false",
        "analytics.enabled": "false",
    }
    options = [part for key, value in values.items() for part in ("-c", f"{key}={value}")]
    return [str(binary), "app-server", *options]


def environment(start: AgentStart) -> dict[str, str]:
    """The whitelisted environment with Codex's home, which must not lie below the temporary folder."""
    temporary = start.home / "tmp"
    return {**start.env, "CODEX_HOME": str(start.home), "TMPDIR": start.env.get("TMPDIR", str(temporary))}


def thread_parameters(start: AgentStart, settings: Settings) -> dict[str, Any]:
    """Parameters of thread/start and thread/resume: this run's place, policy and way to the model."""
    parameters: dict[str, Any] = {
        "cwd": str(start.cwd),
        "sandbox": settings.codex_sandbox_type,
        "approvalPolicy": start.approval_policy,
        "approvalsReviewer": "user",
        "modelProvider": PROVIDER,
        "config": {
            "model_providers": {
                PROVIDER: {
                    "name": "Runyard",
                    "base_url": f"{start.model_base_url}/v1",
                    "wire_api": "responses",
                    "experimental_bearer_token": start.run_token,
                    "http_headers": {"X-Run-Id": start.run_id},
                }
            }
        },
    }
    return {**parameters, "model": start.model} if start.model else parameters


def without_token(parameters: Mapping[str, Any], token: str) -> dict[str, Any]:
    """The same parameters as they may be kept."""

    def cleaned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: cleaned(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
        return MASK if value == token else value

    return {key: cleaned(value) for key, value in parameters.items()}
