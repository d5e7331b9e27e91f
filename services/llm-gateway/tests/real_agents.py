"""Small drivers of the two real agents, only for looking at how they take the model's answers."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from claude_agent_sdk import (
    ClaudeAgentOptions,
    ClaudeSDKClient,
    PermissionResultAllow,
    ToolPermissionContext,
)
from codex_cli_bin import bundled_codex_path


class Codex:
    """`codex app-server` on pipes. Approvals are accepted, questions answered with their first option."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._number = 0
        self.asked: list[str] = []

    @classmethod
    async def start(cls, base: str, token: str, home: Path, model: str) -> "Codex":
        settings = {
            "model": f'"{model}"',
            "model_provider": '"gw"',
            "model_providers.gw.name": '"gw"',
            "model_providers.gw.base_url": f'"{base}/v1"',
            "model_providers.gw.wire_api": '"responses"',
            "model_providers.gw.env_key": '"GW_KEY"',
            "tools.update_plan.enabled": "true",
            "features.plugins": "false",
            "features.unbounded_connection_retries": "false",
            "features.default_mode_request_user_input": "true",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        process = await asyncio.create_subprocess_exec(
            str(bundled_codex_path()),
            "app-server",
            *options,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "HOME": str(home), "CODEX_HOME": str(home), "GW_KEY": token},
            limit=1 << 26,
        )
        codex = cls(process)
        client = {"clientInfo": {"name": "tests", "version": "1"}, "capabilities": {"experimentalApi": True}}
        await codex.call("initialize", client)
        codex._send({"method": "initialized"})
        return codex

    async def thread(self, folder: Path, *, policy: str = "never", sandbox: str = "danger-full-access") -> str:
        answer = await self.call(
            "thread/start",
            {"cwd": str(folder), "sandbox": sandbox, "approvalPolicy": policy, "approvalsReviewer": "user"},
        )
        return str(answer["thread"]["id"])

    async def prompt(self, thread: str, text: str) -> AsyncIterator[dict[str, Any]]:
        """The notifications of one turn."""
        self._request("turn/start", {"threadId": thread, "input": [{"type": "text", "text": text}]})
        async for message in self._messages():
            yield message
            if message.get("method") == "turn/completed" and message["params"]["threadId"] == thread:
                return

    async def turn(self, thread: str, text: str) -> list[dict[str, Any]]:
        return [message async for message in self.prompt(thread, text)]

    async def call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        number = self._request(method, params)
        async for message in self._messages():
            if message.get("id") == number and "method" not in message:
                return message["result"]
        raise AssertionError("codex ended")

    async def stop(self) -> None:
        self._process.terminate()
        await self._process.wait()

    async def steer(self, thread: str, turn: str, text: str) -> None:
        self._request(
            "turn/steer",
            {"threadId": thread, "expectedTurnId": turn, "input": [{"type": "text", "text": text}]},
        )

    async def _messages(self) -> AsyncIterator[dict[str, Any]]:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            message: dict[str, Any] = json.loads(line)
            if "id" in message and "method" in message:
                self._answer(message)
            yield message

    def _answer(self, request: dict[str, Any]) -> None:
        self.asked.append(request["method"])
        result: dict[str, Any] = {"decision": "accept"}
        if request["method"] == "item/tool/requestUserInput":
            questions = request["params"]["questions"]
            result = {"answers": {one["id"]: {"answers": [one["options"][0]["label"]]} for one in questions}}
        self._send({"id": request["id"], "result": result})

    def _request(self, method: str, params: dict[str, Any]) -> int:
        self._number += 1
        self._send({"id": self._number, "method": method, "params": params})
        return self._number

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")


def items(messages: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The completed items of one kind."""
    completed = [m["params"]["item"] for m in messages if m.get("method") == "item/completed"]
    return [item for item in completed if item["type"] == kind]


def methods(messages: list[dict[str, Any]]) -> set[str]:
    return {str(message.get("method")) for message in messages}


async def claude(base: str, token: str, folder: Path, home: Path, prompt: str, *, bypass: bool = True) -> list[Any]:
    """All messages of one prompt to Claude; tools are allowed, questions answered with their first option."""

    async def allow(name: str, given: dict[str, Any], _context: ToolPermissionContext) -> PermissionResultAllow:
        if name == "AskUserQuestion":
            answers = {one["question"]: one["options"][0]["label"] for one in given["questions"]}
            return PermissionResultAllow(updated_input={**given, "answers": answers})
        return PermissionResultAllow()

    options = ClaudeAgentOptions(
        cwd=folder,
        include_partial_messages=True,
        setting_sources=[],
        permission_mode="bypassPermissions" if bypass else "default",
        can_use_tool=None if bypass else allow,
        env={
            "ANTHROPIC_BASE_URL": base,
            "ANTHROPIC_AUTH_TOKEN": token,
            "ANTHROPIC_API_KEY": "",
            "CLAUDE_CONFIG_DIR": str(home),
            "IS_SANDBOX": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_MAX_RETRIES": "3",
            "CLAUDE_CODE_ENABLE_TODO_TOOLS": "1",
            "CLAUDE_CODE_ENABLE_TASKS": "0",
        },
    )
    client = ClaudeSDKClient(options)
    await client.connect()
    try:
        await client.query(prompt)
        return [message async for message in client.receive_response()]
    finally:
        await client.disconnect()
