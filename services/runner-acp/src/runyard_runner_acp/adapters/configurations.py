"""The agents: what is installed of them, how they are started and how they find the model. Pure but for files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from runyard_runner.adapter import AgentStart
from runyard_runner_acp.adapters import gemini
from runyard_runner_acp.adapters.npm import wanted_by
from runyard_runner_acp.adapters.talk import Acp, Dialect, Droid, Gemini

Name = Literal["opencode", "droid", "gemini"]


@dataclass(frozen=True)
class Configuration:
    """One agent. `program` is the file that it is, once installed, `runtime` what runs it if it does not by itself."""

    name: Name
    program: str
    arguments: tuple[str, ...]
    dialect: Dialect
    runtime: str | None = None

    @property
    def lock(self) -> Path:
        """What npm installs, with the hash of every package."""
        return Path(__file__).parent.parent / "locks" / f"{self.name}.json"

    @property
    def version(self) -> str:
        """The pinned version."""
        return next(iter(wanted_by(self.lock).values()))


CONFIGURATIONS: Mapping[str, Configuration] = {
    "opencode": Configuration(
        "opencode",
        "node_modules/opencode-linux-x64/bin/opencode",
        ("acp",),
        Acp(),
    ),
    "droid": Configuration(
        "droid",
        "node_modules/@factory/cli-linux-x64/bin/droid",
        ("exec", "--input-format", "stream-jsonrpc", "-o", "stream-jsonrpc"),
        Droid(),
    ),
    "gemini": Configuration(
        "gemini",
        "node_modules/@google/gemini-cli/bundle/gemini.js",
        ("--acp",),
        Gemini(),
        runtime="node",
    ),
}


def token_file(start: AgentStart) -> Path:
    """Where the run's token is while the run goes on."""
    return start.home / "run-token"


def environment(name: Name, start: AgentStart, model: str) -> dict[str, str]:
    """The agent's environment; the token is not in it, so that commands do not inherit it."""
    common = {**start.env, "HOME": str(start.home)}
    if name == "gemini":
        return {**common, **gemini.environment(start, model)}
    if name == "droid":
        return {**common, "FACTORY_DISABLE_AUTOUPDATE": "1", "DROID_DISABLE_AUTO_UPDATE": "1"}
    switched_off = ("AUTOUPDATE", "MODELS_FETCH", "LSP_DOWNLOAD", "DEFAULT_PLUGINS", "SHARE")
    return {
        **common,
        "OPENCODE_CONFIG_CONTENT": json.dumps(opencode_settings(start, model)),
        **{f"OPENCODE_DISABLE_{one}": "1" for one in switched_off},
    }


def opencode_settings(start: AgentStart, model: str) -> dict[str, Any]:
    """The way to the model, nothing to the outside, and what needs a person's word."""
    asks = {"edit": "ask", "bash": "ask", "webfetch": "ask"}
    return {
        "model": f"run/{model}",
        "small_model": f"run/{model}",
        "enabled_providers": ["run"],
        "share": "disabled",
        "autoupdate": False,
        "permission": {"*": "allow"} if start.approval_policy == "never" else asks,
        "provider": {
            "run": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "Runyard",
                "options": {
                    "baseURL": f"{start.model_base_url}/v1",
                    "apiKey": f"{{file:{token_file(start)}}}",
                },
                "models": {model: {"name": model, "limit": {"context": 200_000, "output": 32_000}}},
            }
        },
    }


def droid_settings(start: AgentStart, model: str) -> dict[str, Any]:
    """The one model that Droid knows, by llm-gateway and with the run's token."""
    return {
        "customModels": [
            {
                "model": model,
                "displayName": "Runyard",
                "baseUrl": f"{start.model_base_url}/v1",
                "apiKey": start.run_token,
                "provider": "openai",
            }
        ],
        "cloudSessionSync": False,
    }


def write_settings(name: Name, start: AgentStart, model: str) -> None:
    """Give the agent its settings and, where it does not come over the protocol, the run's token."""
    if name == "gemini":
        gemini.write(start)
    elif name == "droid":
        _write(start.home / ".factory" / "settings.json", json.dumps(droid_settings(start, model)))
    else:
        _write(token_file(start), start.run_token)


def forget_secrets(name: Name, start: AgentStart) -> None:
    """The run's token is gone with the run."""
    path = start.home / ".factory" / "settings.json" if name == "droid" else token_file(start)
    path.unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    path.write_text(text)
