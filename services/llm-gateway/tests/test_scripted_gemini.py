"""The scripted model over Gemini's API, as gemini-cli and Google's SDK speak it."""

import json
from dataclasses import replace
from typing import Any

import pytest

from runyard_llm_gateway.providers.base import ModelCall, StreamBroken
from runyard_llm_gateway.providers.scripted.offline import entries
from runyard_llm_gateway.providers.scripted.provider import ScriptedProvider

SHELL: dict[str, Any] = {
    "name": "run_shell_command",
    "parametersJsonSchema": {"properties": {"command": {}, "description": {}}},
}
WRITE: dict[str, Any] = {"name": "write_file", "parameters": {"properties": {"file_path": {}, "content": {}}}}
TOOLS: list[dict[str, Any]] = [{"functionDeclarations": [SHELL, WRITE]}, {"googleSearch": {}}]
CONTEXT = (
    "<session_context>\nThis is the Gemini CLI.\n- **Workspace Directories:**\n  - /work/repo\n"
    "- **Directory Structure:**\n</session_context>"
)
STEPS: list[dict[str, Any]] = [
    {"think": "Hm."},
    {"say": "One."},
    {"together": [{"run": "ls"}, {"write": "a.md", "text": "x"}]},
    {"say": "End."},
]
SCRIPT = f"[[script: {json.dumps({'steps': STEPS})}]]"
PROMPT = {"role": "user", "parts": [{"text": CONTEXT}, {"text": SCRIPT}]}


def call(*contents: dict[str, Any], method: str = "generateContent", **more: Any) -> ModelCall:
    body: dict[str, Any] = {"contents": list(contents), "tools": TOOLS, **more}
    return ModelCall(
        api="gemini_count_tokens" if method == "countTokens" else "generate_content",
        path=f"/v1beta/models/m:{method}",
        body=json.dumps(body).encode(),
        parsed=body,
        model="m",
    )


async def answer(asked: ModelCall) -> tuple[int, bytes]:
    found = await ScriptedProvider().send(asked)
    return found.status, b"".join([piece async for piece in found.body])


async def streamed(*contents: dict[str, Any], **more: Any) -> tuple[int, bytes]:
    return await answer(replace(call(*contents, method="streamGenerateContent", **more), stream=True))


async def parts(*contents: dict[str, Any]) -> list[dict[str, Any]]:
    status, raw = await answer(call(*contents))
    assert status == 200, raw
    return json.loads(raw)["candidates"][0]["content"]["parts"]


def events(raw: bytes) -> list[dict[str, Any]]:
    return [json.loads(event.removeprefix(b"data: ")) for event in raw.split(b"\n\n") if event]


async def test_calls_and_their_results_carry_a_script_from_request_to_request() -> None:
    said, ran, wrote = await parts(PROMPT)
    assert said == {"text": "One."}
    assert ran["functionCall"]["name"] == "run_shell_command"
    assert ran["functionCall"]["args"]["command"] == "ls"
    assert wrote["functionCall"]["args"] == {"file_path": "/work/repo/a.md", "content": "x"}
    calls = [ran["functionCall"], wrote["functionCall"]]
    assert len({call["id"] for call in calls}) == 2
    results = [
        {"functionResponse": {"id": call["id"], "name": call["name"], "response": {"output": "ok"}}} for call in calls
    ]
    model = {"role": "model", "parts": [{"text": "Hm.", "thought": True}, said, ran, wrote]}
    assert await parts(PROMPT, model, {"role": "user", "parts": results}) == [{"text": "End."}]


async def test_results_without_ids_count_as_well() -> None:
    calls: list[dict[str, Any]] = [
        {"functionCall": {"name": name, "args": {}}} for name in ("run_shell_command", "write_file")
    ]
    results: list[dict[str, Any]] = [
        {"functionResponse": {"name": name, "response": {}}} for name in ("run_shell_command", "write_file")
    ]
    after = await parts(PROMPT, {"role": "model", "parts": calls}, {"role": "user", "parts": results})
    assert after == [{"text": "End."}]


async def test_thoughts_come_where_they_are_asked_for_and_are_counted_apart() -> None:
    thinking = {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}}
    _, raw = await streamed(PROMPT, **thinking)
    told = events(raw)
    first = told[0]["candidates"][0]["content"]["parts"][0]
    assert first == {"text": "**Thinking**\n\nHm.", "thought": True}
    assert all("finishReason" not in one["candidates"][0] for one in told[:-1])
    assert told[-1]["candidates"][0]["finishReason"] == "STOP"
    usage = told[-1]["usageMetadata"]
    assert usage["thoughtsTokenCount"] == 1
    assert usage["totalTokenCount"] == (
        usage["promptTokenCount"] + usage["candidatesTokenCount"] + usage["thoughtsTokenCount"]
    )


async def test_a_stream_without_events_is_one_array() -> None:
    _, raw = await answer(call(PROMPT, method="streamGenerateContent"))
    whole = json.loads(raw)
    assert [one["candidates"][0]["finishReason"] for one in whole] == ["STOP"]


async def test_tokens_are_counted_as_an_answer_counts_them() -> None:
    _, raw = await answer(call(PROMPT))
    _, counted = await answer(call(PROMPT, method="countTokens"))
    whole = {"contents": [PROMPT], "tools": TOOLS}
    _, wrapped = await answer(call(method="countTokens", generateContentRequest=whole))
    assert json.loads(counted) == json.loads(wrapped)
    assert json.loads(counted)["totalTokens"] == json.loads(raw)["usageMetadata"]["promptTokenCount"]


async def test_failures_come_as_google_tells_them_before_and_inside_a_stream() -> None:
    def prompt(*steps: dict[str, Any]) -> dict[str, Any]:
        return {"role": "user", "parts": [{"text": f"[[script: {json.dumps({'steps': steps})}]]"}]}

    status, raw = await streamed(prompt({"error": 429, "message": "slow down"}))
    assert (status, json.loads(raw)["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")
    status, raw = await streamed(prompt({"say": "Then "}, {"error": 503, "message": "busy"}))
    assert status == 200
    assert events(raw)[-1]["error"]["status"] == "UNAVAILABLE"
    assert b"finishReason" not in raw
    with pytest.raises(StreamBroken):
        await streamed(prompt({"say": "Then "}, {"cut": True}))


async def test_a_request_without_contents_is_a_bad_one() -> None:
    status, raw = await answer(call())
    assert status == 400
    assert json.loads(raw)["error"] == {
        "code": 400,
        "message": "'contents' must be a non-empty array",
        "status": "INVALID_ARGUMENT",
    }


def test_what_a_command_wrote_is_read_out_of_what_gemini_cli_tells() -> None:
    told = "<untrusted_context>\nOutput: README.md\nsrc\nExit Code: 1\nProcess Group PGID: 7\n</untrusted_context>"
    assert entries(told) == ["README.md", "src"]
