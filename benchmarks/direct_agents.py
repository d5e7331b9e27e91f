"""The bare floor: an agent driven directly, its lines read and thrown away, on the scripted model."""

import asyncio
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any


def _environment(home: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "TERM": "dumb"}


async def codex(model: str, cwd: Path, prompt: str) -> None:
    """One turn of `codex app-server` from its start to `turn/completed`."""
    from codex_cli_bin import bundled_codex_path

    home = Path(tempfile.mkdtemp(prefix="direct-codex-", dir=Path.home()))
    values = {
        "model_provider": '"gw"',
        "model_providers.gw.name": '"gw"',
        "model_providers.gw.base_url": f'"{model}/v1"',
        "model_providers.gw.wire_api": '"responses"',
        "model_providers.gw.experimental_bearer_token": '"none"',
        "tools.update_plan.enabled": "true",
        "features.plugins": "false",
        "check_for_update_on_startup": "false",
        "analytics.enabled": "false",
    }
    options = [part for key, value in values.items() for part in ("-c", f"{key}={value}")]
    process = await asyncio.create_subprocess_exec(
        str(bundled_codex_path()),
        "app-server",
        *options,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**_environment(home), "CODEX_HOME": str(home)},
        cwd=cwd,
        limit=64 * 1024 * 1024,
    )
    stdin, stdout = process.stdin, process.stdout
    assert stdin
    assert stdout
    number = 0

    async def ask(method: str, params: dict[str, Any]) -> Any:
        nonlocal number
        number += 1
        stdin.write(json.dumps({"id": number, "method": method, "params": params}).encode() + b"\n")
        while True:
            message = json.loads(await stdout.readline())
            if message.get("id") == number and "method" not in message:
                return message["result"]

    try:
        await ask(
            "initialize",
            {"clientInfo": {"name": "bench", "version": "1"}, "capabilities": {"experimentalApi": True}},
        )
        stdin.write(b'{"method":"initialized"}\n')
        thread = await ask("thread/start", {"cwd": str(cwd), "sandbox": "workspace-write", "approvalPolicy": "never"})
        await ask("turn/start", {"threadId": thread["thread"]["id"], "input": [{"type": "text", "text": prompt}]})
        while json.loads(await stdout.readline()).get("method") != "turn/completed":
            pass
    finally:
        process.kill()
        await process.wait()
        subprocess.run(["rm", "-rf", str(home)], check=False)


async def claude(model: str, cwd: Path, prompt: str) -> None:
    """One turn of Claude through its SDK, from its start to the result."""
    from claude_agent_sdk import ClaudeAgentOptions, ResultMessage, query

    home = Path(tempfile.mkdtemp(prefix="direct-claude-"))
    options = ClaudeAgentOptions(
        cwd=cwd,
        permission_mode="bypassPermissions",
        include_partial_messages=True,
        setting_sources=[],
        env={
            "ANTHROPIC_BASE_URL": model,
            "ANTHROPIC_AUTH_TOKEN": "none",
            "CLAUDE_CONFIG_DIR": str(home),
            "IS_SANDBOX": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_ENABLE_TODO_TOOLS": "1",
            "CLAUDE_CODE_ENABLE_TASKS": "0",
        },
    )
    try:
        async for message in query(prompt=prompt, options=options):
            if isinstance(message, ResultMessage):
                break
    finally:
        subprocess.run(["rm", "-rf", str(home)], check=False)


AGENTS = {"codex": codex, "claude": claude}
