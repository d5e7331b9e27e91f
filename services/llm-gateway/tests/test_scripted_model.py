"""The scripted model by itself: pure, stateless, deterministic, and never confused by what it is sent."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai import AsyncOpenAI

from runyard_llm_gateway.providers.base import Api, ModelCall, StreamBroken
from runyard_llm_gateway.providers.scripted.app import app
from runyard_llm_gateway.providers.scripted.offline import entries, notes, title_of
from runyard_llm_gateway.providers.scripted.provider import ScriptedProvider
from runyard_llm_gateway.providers.scripted.scenarios import SCENARIOS
from runyard_llm_gateway.providers.scripted.script import ScriptError, answer_after, directive, parse

from .callers import anthropic_of, openai_of
from .conftest import Gateway, free_port

BASH = {
    "type": "function",
    "function": {"name": "bash", "parameters": {"type": "object", "properties": {"command": {"type": "string"}}}},
}
EXEC: dict[str, Any] = {"type": "function", "name": "exec_command", "parameters": {"properties": {"cmd": {}}}}
STDIN = EXEC | {"name": "write_stdin"}


async def answer(api: Api, body: dict[str, Any]) -> tuple[int, bytes]:
    raw = json.dumps(body).encode()
    call = ModelCall(api=api, path="", body=raw, parsed=json.loads(raw), model="m", stream=body.get("stream") is True)
    found = await ScriptedProvider().send(call)
    return found.status, b"".join([piece async for piece in found.body])


async def respond(text: str, *more: dict[str, Any], tools: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """The Responses answer to a prompt and what followed it."""
    prompt = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    body = {"model": "m", "input": [prompt, *more], "tools": [EXEC, STDIN] if tools is None else tools}
    status, raw = await answer("responses", body)
    assert status == 200, raw
    return json.loads(raw)


def called(call_id: str, output: str, name: str = "exec_command") -> list[dict[str, Any]]:
    return [
        {"type": "function_call", "call_id": call_id, "name": name, "arguments": "{}"},
        {"type": "function_call_output", "call_id": call_id, "output": output},
    ]


def text_of(response: dict[str, Any]) -> str:
    return "".join(item["content"][0]["text"] for item in response["output"] if item["type"] == "message")


def arguments_of(response: dict[str, Any]) -> Any:
    return json.loads(next(item for item in response["output"] if item["type"] == "function_call")["arguments"])


async def test_without_a_script_and_without_tools_it_says_what_it_is() -> None:
    response = await respond("What is the meaning of life?", tools=[])
    assert "scripted offline model" in text_of(response)
    assert "cannot reason" in text_of(response)
    assert "ANTHROPIC_API_KEY" in text_of(response)


async def test_the_same_request_gets_the_same_bytes() -> None:
    body: dict[str, Any] = {"model": "m", "input": "[[script: everything]]", "stream": True, "tools": [EXEC]}
    assert await answer("responses", body) == await answer("responses", body)


STEPS: list[dict[str, Any]] = [
    {"say": "One."},
    {"run": "a"},
    {"together": [{"run": "b"}, {"run": "c"}]},
    {"say": "End."},
]
SCRIPT = f"[[script: {json.dumps({'steps': STEPS})}]]"


async def test_how_far_a_script_has_come_is_read_off_the_results_in_the_request() -> None:
    first = await respond(SCRIPT)
    assert text_of(first) == "One."
    assert arguments_of(first)["cmd"] == "a"
    second = await respond(SCRIPT, *called("1", "ok"))
    assert [json.loads(item["arguments"])["cmd"] for item in second["output"]] == ["b", "c"]
    assert len({item["call_id"] for item in second["output"]}) == 2
    third = await respond(SCRIPT, *called("1", "ok"), *called("2", "ok"), *called("3", "ok"))
    assert text_of(third) == "End."


async def test_a_command_that_codex_has_put_in_the_background_is_waited_for_and_counts_once() -> None:
    running = called("1", "Chunk ID: x\nProcess running with session ID 4711\nOutput:\n")
    poll = await respond(SCRIPT, *running)
    assert poll["output"][0]["name"] == "write_stdin"
    assert arguments_of(poll)["session_id"] == 4711
    after = await respond(SCRIPT, *running, *called("2", "Process exited with code 0", "write_stdin"))
    assert [json.loads(item["arguments"])["cmd"] for item in after["output"]] == ["b", "c"]


async def test_a_new_prompt_is_not_the_old_script() -> None:
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "End."}]}
    fresh = {"type": "message", "role": "user", "content": "How are you?"}
    assert "scripted offline model" in text_of(await respond(SCRIPT, *called("1", "ok"), said, fresh))


async def test_a_stopped_script_is_not_taken_up_by_the_next_prompt() -> None:
    stopped = {"type": "message", "role": "user", "content": "<turn_aborted>\nThe user interrupted.\n</turn_aborted>"}
    fresh = {"type": "message", "role": "user", "content": "continue"}
    assert "scripted offline model" in text_of(await respond(SCRIPT, *called("1", "ok"), stopped, fresh))


async def test_a_run_that_is_taken_up_again_goes_on_with_its_script() -> None:
    resumed = {"type": "message", "role": "user", "content": "Continue where you left off."}
    response = await respond(SCRIPT, *called("1", "aborted"), resumed)
    assert [json.loads(item["arguments"])["cmd"] for item in response["output"]] == ["b", "c"]


async def test_machinery_that_an_agent_writes_as_the_user_is_no_prompt() -> None:
    context = {
        "type": "message",
        "role": "user",
        "content": "<environment_context>\n<cwd>/w</cwd></environment_context>",
    }
    response = await respond('[[script: {"steps": [{"say": "Mine."}]}]]', context)
    assert text_of(response) == "Mine."


async def test_usage_grows_with_what_is_read_and_written_and_knows_the_cache() -> None:
    short = (await respond("[[script: tokens 10]]"))["usage"]
    long = (await respond("[[script: tokens 100]]"))["usage"]
    assert long["output_tokens"] > 5 * short["output_tokens"]
    assert short["input_tokens_details"]["cached_tokens"] == 0
    later = (await respond(SCRIPT, *called("1", "x" * 4000)))["usage"]
    assert later["input_tokens"] > short["input_tokens"] + 900
    assert 0 < later["input_tokens_details"]["cached_tokens"] < later["input_tokens"] - 900
    thought = (await respond("[[script: think 50]]"))["usage"]
    assert thought["output_tokens_details"]["reasoning_tokens"] > 50


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("[[script: {]]", "not JSON"),
        ('[[script: {"steps": []}', "closing"),
        ('[[script: {"steps": [{"dance": 1}]}]]', "steps.0"),
        ('[[script: {"steps": [{"run": "ls", "tempo": 1}]}]]', "tempo"),
        ("[[script: waltz]]", "no scenario"),
        ("[[script: tokens many]]", "one number"),
    ],
)
async def test_a_script_with_a_mistake_is_a_bad_request_that_names_it(words: str, reason: str) -> None:
    status, raw = await answer("responses", {"model": "m", "input": words})
    assert status == 400
    assert reason in json.loads(raw)["error"]["message"]


def test_the_directive_of_a_sub_agent_is_part_of_its_parents_script() -> None:
    child = '[[script: {"steps": [{"say": "inner"}]}]]'
    found = directive(f"Please {'[[script: ' + json.dumps({'steps': [{'spawn': child}]}) + ']]'} now")
    assert found == {"steps": [{"spawn": child}]}
    assert directive("no script here") is None
    with pytest.raises(ScriptError):
        directive("[[script: tokens 5")


@given(shape=st.lists(st.one_of(st.just("say"), st.just("run"), st.integers(min_value=1, max_value=3)), max_size=12))
def test_every_step_is_told_exactly_once_whatever_the_script(shape: list[str | int]) -> None:
    steps: list[dict[str, Any]] = []
    for number, kind in enumerate(shape):
        if isinstance(kind, int):
            steps.append({"together": [{"run": f"{number}.{i}"} for i in range(kind)]})
        else:
            steps.append({kind: str(number)})
    script = parse({"steps": steps})
    told: list[Any] = []
    results, last = 0, False
    while not last:
        answered, last = answer_after(script, results)
        told += answered
        results += sum(len(getattr(step, "together", [step])) for step in answered if not hasattr(step, "say"))
    assert told == script.steps


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["user", "text", "tool", "[[script: plan]]", "x"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("role", "content", "type", "text", "tools", "name", "function", "tool_calls", "id", "input"),
                    *("parts", "functionCall", "functionResponse", "functionDeclarations", "args", "response"),
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    api=st.sampled_from(
        ["responses", "chat_completions", "messages", "count_tokens", "generate_content", "gemini_count_tokens"]
    ),
    body=st.dictionaries(
        st.sampled_from(
            [
                *("input", "messages", "tools", "system", "instructions", "stream", "stream_options", "thinking"),
                *("include", "contents", "systemInstruction", "generationConfig", "generateContentRequest"),
            ]
        ),
        JSON,
    ),
)
def test_no_body_however_strange_is_more_than_a_bad_request(api: Api, body: dict[str, Any]) -> None:
    status, raw = asyncio.run(answer(api, body | {"model": "m"}))
    assert status in (200, 400), raw


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name not in ("error", "hang", "cut")])
@pytest.mark.parametrize("api", ["responses", "chat_completions", "messages", "generate_content"])
async def test_every_scenario_is_spoken_in_every_api_streamed_and_not(api: Api, name: str) -> None:
    words = f"[[script: {name}]]"
    body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": words}], "input": words}
    body["contents"] = [{"role": "user", "parts": [{"text": words}]}]
    for stream in (True, False):
        status, raw = await answer(api, body | {"stream": stream, "stream_options": {"include_usage": True}})
        assert status == 200
        assert raw.endswith(b"\n\n") == stream


async def test_a_cut_stream_breaks_and_a_passed_deadline_no_longer_counts() -> None:
    with pytest.raises(StreamBroken):
        await answer("messages", {"messages": [{"role": "user", "content": "[[script: cut]]"}], "stream": True})
    over = '[[script: {"steps": [{"error": 500, "until": 1}, {"cut": true, "until": 1}, {"say": "Fine."}]}]]'
    assert text_of(await respond(over)) == "Fine."


async def test_a_failure_after_words_stands_inside_the_stream() -> None:
    words = '[[script: {"steps": [{"say": "Then "}, {"error": 529, "message": "busy"}]}]]'
    body = {"messages": [{"role": "user", "content": words}], "stream": True}
    status, raw = await answer("messages", body)
    assert status == 200
    assert b"overloaded_error" in raw
    assert b"message_stop" not in raw


async def test_the_openai_sdk_reads_chat_with_tools_and_usage(offline: Gateway) -> None:
    client = openai_of(offline)
    messages: list[Any] = [{"role": "user", "content": "[[script: shell]]"}]
    tools: list[Any] = [BASH]
    first = await client.chat.completions.create(model="m", messages=messages, tools=tools)
    assert first.choices[0].finish_reason == "tool_calls"
    call = first.choices[0].message.tool_calls
    assert call is not None
    messages += [
        first.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call[0].id, "content": "done"},
    ]
    stream = await client.chat.completions.create(
        model="m", messages=messages, tools=tools, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "The command has run."
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0


async def test_the_sdks_read_streams_counts_and_models(offline: Gateway) -> None:
    openai = openai_of(offline)
    async with openai.responses.stream(model="m", input="[[script: think]]") as events:
        async for _ in events:
            pass
        final = await events.get_final_response()
    assert final.output_text == "I have thought about it."
    assert "runyard-scripted" in [model.id async for model in openai.models.list()]
    anthropic = anthropic_of(offline)
    messages: list[Any] = [{"role": "user", "content": "[[script: tokens 20]]"}]
    counted = await anthropic.messages.count_tokens(model="m", messages=messages)
    async with anthropic.messages.stream(model="m", max_tokens=100, messages=messages) as stream:
        message = await stream.get_final_message()
    assert message.usage.input_tokens == counted.input_tokens
    assert message.usage.output_tokens >= 20
    assert "runyard-scripted" in [model.id async for model in anthropic.models.list()]


def test_the_notes_say_only_what_was_seen() -> None:
    listing = entries("Chunk ID: 1\nOutput:\n.git\nREADME.md\nsrc\n")
    assert listing == ["README.md", "src"]
    assert title_of("<p>\n![badge]\n# Kettle\nBoils.") == "Kettle"
    text = notes("docs/NOTES.md", listing, "Kettle")
    assert text.startswith("# NOTES\n\nIts README is titled: Kettle\n")
    assert "- `src`\n" in text


async def test_the_model_serves_by_itself_and_breaks_connections_where_the_script_says() -> None:
    config = uvicorn.Config(app, host="127.0.0.1", port=free_port(), log_config=None, lifespan="on")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn offers nothing to wait for
        await asyncio.sleep(0.01)
    base = f"http://127.0.0.1:{config.port}"
    try:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{base}/health") as response:
                assert await response.json() == {"status": "ok"}
            async with session.get(f"{base}/nothing") as response:
                assert response.status == 404
            async with session.post(f"{base}/v1/messages", data=b"no JSON") as response:
                assert (response.status, (await response.json())["type"]) == (400, "error")
            client = AsyncOpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0)
            assert [model.id async for model in client.models.list()] == ["runyard-scripted"]
            async with session.get(f"{base}/v1beta/models") as response:
                assert [model["name"] for model in (await response.json())["models"]] == ["models/runyard-scripted"]
            async with session.post(f"{base}/v1beta/models/m:generateContent", data=b"no JSON") as response:
                assert (await response.json())["error"]["status"] == "INVALID_ARGUMENT"
            answered = await client.responses.create(model="m", input="[[script: tokens 3]]")
            assert answered.output_text == "word0 word1 word2 "
            body = {"model": "m", "input": "[[script: cut]]", "stream": True}
            with pytest.raises(aiohttp.ClientPayloadError):
                await (await session.post(f"{base}/v1/responses", json=body)).read()
    finally:
        server.should_exit = True
        await serving
