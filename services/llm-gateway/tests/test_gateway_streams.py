"""Streams and answers pass through as they are, and what they used is noted: for all four APIs."""

import json
from typing import Any

import aiohttp
import pytest

from runyard_events.catalogue import LlmCallCompleted

from .callers import CHATS, GENERATE, GENERATE_STREAM, MESSAGES, RESPONSES, anthropic_of, openai_of, post
from .conftest import CANARY, Gateway, Upstream
from .samples import (
    CHAT,
    CHAT_STREAM,
    CONTENT,
    CONTENT_STREAM,
    MESSAGE,
    MESSAGES_STREAM,
    RESPONSE,
    RESPONSES_STREAM,
    USAGE_CHUNK,
)

STREAMS: dict[str, tuple[tuple[str, dict[str, Any]], list[bytes], tuple[int, int]]] = {
    "responses": (RESPONSES, RESPONSES_STREAM, (1200, 90)),
    "messages": (MESSAGES, MESSAGES_STREAM, (950, 30)),
    "gemini": (GENERATE_STREAM, CONTENT_STREAM, (1000, 60)),
}


@pytest.mark.parametrize("api", STREAMS)
@pytest.mark.parametrize("size", [1, 7, 100_000], ids=["bytewise", "in sevens", "at once"])
async def test_a_stream_arrives_byte_for_byte_however_it_is_cut_into_chunks(
    keyed: Gateway, upstream: Upstream, api: str, size: int
) -> None:
    route, stream, tokens = STREAMS[api]
    whole = b"".join(stream)
    upstream.streams(*(whole[i : i + size] for i in range(0, len(whole), size)))
    status, headers, body = await post(keyed, route[0], route[1] | {"stream": True})
    assert status == 200
    assert body == whole
    assert headers["x-upstream"] == "yes"
    payload = await keyed.payload()
    assert payload.status == "ok"
    assert (payload.input_tokens, payload.output_tokens) == tokens
    assert payload.streamed


async def test_the_usage_of_a_responses_stream_is_noted_with_its_cost(keyed: Gateway, upstream: Upstream) -> None:
    upstream.streams(*RESPONSES_STREAM)
    client = openai_of(keyed)
    events = [event.type async for event in await client.responses.create(model="gpt-5", input="hi", stream=True)]
    assert events[-1] == "response.completed"
    stored = (await keyed.events())[0]
    payload = stored.event.payload
    assert isinstance(payload, LlmCallCompleted)
    assert (payload.api, payload.provider, payload.model) == ("responses", "openai", "gpt-5")
    assert (payload.input_tokens, payload.output_tokens) == (1200, 90)
    assert (payload.cached_input_tokens, payload.reasoning_tokens) == (1000, 40)
    assert payload.priced
    assert payload.cost_usd is not None
    assert payload.streamed
    assert payload.first_token_ms is not None
    assert 0 < payload.first_token_ms <= payload.latency_ms
    assert stored.event.seq == 1
    assert stored.event.source.startswith("llm-gateway.")


async def test_the_usage_of_a_messages_stream_counts_the_cache_into_the_input(
    keyed: Gateway, upstream: Upstream
) -> None:
    upstream.streams(*MESSAGES_STREAM)
    client = anthropic_of(keyed)
    async with client.messages.stream(
        model="claude-sonnet-5-5", max_tokens=10, messages=[{"role": "user", "content": "hi"}]
    ) as stream:
        assert await stream.get_final_text() == "Hello"
    payload = await keyed.payload()
    assert (payload.input_tokens, payload.output_tokens) == (950, 30)
    assert (payload.cached_input_tokens, payload.cache_write_tokens) == (800, 50)
    assert payload.priced


async def test_a_chat_stream_asked_for_with_usage_arrives_untouched(keyed: Gateway, upstream: Upstream) -> None:
    upstream.streams(*CHAT_STREAM)
    body = CHATS[1] | {"stream": True, "stream_options": {"include_usage": True}}
    _, _, answer = await post(keyed, CHATS[0], body)
    assert answer == b"".join(CHAT_STREAM)
    assert upstream.seen[0].body == json.dumps(body).encode()


async def test_a_chat_stream_asked_for_without_usage_is_billed_and_shows_none(
    keyed: Gateway, upstream: Upstream
) -> None:
    upstream.streams(*CHAT_STREAM)
    client = openai_of(keyed)
    stream = await client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "hi"}], stream=True
    )
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == "Hello"
    assert json.loads(upstream.seen[0].body)["stream_options"] == {"include_usage": True}
    payload = await keyed.payload()
    assert (payload.input_tokens, payload.output_tokens, payload.reasoning_tokens) == (70, 7, 3)


async def test_only_the_usage_chunk_is_taken_out_of_a_chat_stream(keyed: Gateway, upstream: Upstream) -> None:
    upstream.streams(b"".join(CHAT_STREAM))
    _, _, answer = await post(keyed, CHATS[0], CHATS[1] | {"stream": True})
    assert answer == b"".join(CHAT_STREAM).replace(USAGE_CHUNK, b"")


@pytest.mark.parametrize(
    ("route", "answer", "tokens"),
    [
        (RESPONSES, RESPONSE, (1200, 90)),
        (MESSAGES, MESSAGE, (950, 30)),
        (CHATS, CHAT, (70, 7)),
        (GENERATE, CONTENT, (1000, 60)),
        (("/v1beta/models/gemini-2.5-pro:streamGenerateContent", GENERATE[1]), [CONTENT, CONTENT], (1000, 60)),
    ],
    ids=["responses", "messages", "chat", "gemini", "gemini, an array"],
)
async def test_an_answer_in_one_piece_arrives_byte_for_byte_and_is_counted(
    keyed: Gateway,
    upstream: Upstream,
    route: tuple[str, dict[str, Any]],
    answer: dict[str, Any] | list[Any],
    tokens: tuple[int, int],
) -> None:
    body = json.dumps(answer, indent=2).encode()
    upstream.answers(body, headers={"x-request-id": "req_upstream"})
    status, headers, received = await post(keyed, *route)
    assert (status, received) == (200, body)
    assert headers["x-request-id"] == "req_upstream"
    payload = await keyed.payload()
    assert (payload.input_tokens, payload.output_tokens) == tokens
    assert not payload.streamed
    assert payload.first_token_ms is None


async def test_headers_go_on_as_they_are_but_for_the_authorisation(keyed: Gateway, upstream: Upstream) -> None:
    upstream.answers(b"{}")
    await post(
        keyed,
        *MESSAGES,
        **{"anthropic-beta": "a,b", "anthropic-version": "2023-06-01", "thread-id": "t1", "user-agent": "claude-cli/1"},
    )
    seen = upstream.seen[0]
    assert seen.path == "/v1/messages?beta=true"
    assert seen.headers["x-api-key"] == CANARY
    assert "authorization" not in seen.headers
    assert seen.headers["anthropic-beta"] == "a,b"
    assert seen.headers["anthropic-version"] == "2023-06-01"
    assert seen.headers["thread-id"] == "t1"
    assert seen.headers["user-agent"] == "claude-cli/1"
    assert seen.headers["accept-encoding"] == "identity"
    assert json.loads(seen.body) == MESSAGES[1]


async def test_an_error_of_the_provider_passes_through_and_the_key_is_seen_nowhere(
    keyed: Gateway, upstream: Upstream, capfd: pytest.CaptureFixture[str]
) -> None:
    error = json.dumps({"error": {"message": f"Incorrect API key provided: {CANARY}", "type": "x"}}).encode()
    upstream.answers(error, status=401, headers={"x-echo": f"Bearer {CANARY}", "retry-after": "3"})
    status, headers, body = await post(keyed, *RESPONSES)
    assert status == 401
    assert headers["retry-after"] == "3"
    assert CANARY not in body.decode()
    assert CANARY not in str(headers)
    assert b"Incorrect API key provided: [redacted]" in body
    stored = (await keyed.events())[0]
    assert CANARY.encode() not in stored.data
    assert (stored.event.payload.status, stored.event.payload.http_status) == ("error", 401)
    assert not stored.event.payload.priced
    async with aiohttp.ClientSession() as session, session.get(f"{keyed.url}/metrics") as response:
        assert CANARY not in await response.text()
    assert CANARY not in "".join(capfd.readouterr())


async def test_while_the_ledger_has_no_place_further_calls_wait_and_then_are_refused(
    start: Any, upstream: Upstream
) -> None:
    gateway = await start(openai_base_url=f"{upstream.url}/v1", ledger_capacity=1, ledger_wait_seconds=0.2)
    upstream.streams(*RESPONSES_STREAM[:3], hold=True)
    async with aiohttp.ClientSession() as session:
        headers = {"authorization": f"Bearer {gateway.token}"}
        body = RESPONSES[1] | {"stream": True}
        async with session.post(gateway.url + RESPONSES[0], json=body, headers=headers) as response:
            await response.content.readany()
            status, _, refusal = await post(gateway, *MESSAGES)
    assert status == 503
    assert json.loads(refusal)["error"]["type"] == "api_error"
    assert len(upstream.seen) == 1
    await gateway.events(1)  # the first call's place is free again
    upstream.answers(json.dumps(RESPONSE).encode())
    status, _, _ = await post(gateway, *RESPONSES)
    assert status == 200


async def test_a_body_that_comes_in_pieces_goes_on_whole(keyed: Gateway, upstream: Upstream) -> None:
    upstream.answers(json.dumps(RESPONSE).encode())
    whole = json.dumps(RESPONSES[1] | {"input": "x" * 300_000}).encode()

    async def pieces() -> Any:
        for start in range(0, len(whole), 50_000):
            yield whole[start : start + 50_000]

    async with aiohttp.ClientSession() as session:
        headers = {"authorization": f"Bearer {keyed.token}"}
        async with session.post(keyed.url + RESPONSES[0], data=pieces(), headers=headers) as response:
            assert response.status == 200
    assert upstream.seen[0].body == whole


async def test_the_providers_own_list_of_models_passes_through(keyed: Gateway, upstream: Upstream) -> None:
    listed = b'{"object": "list", "data": [{"id": "gpt-real", "object": "model"}]}'
    upstream.answers(listed)
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {keyed.token}"}) as session:
        async with session.get(f"{keyed.url}/v1/models?limit=5") as response:
            assert await response.read() == listed
        upstream.answers(listed)
        anthropic = {"anthropic-version": "2023-06-01"}
        async with session.get(f"{keyed.url}/v1/models", headers=anthropic) as response:
            assert response.headers["x-runyard-provider"] == "anthropic"
    assert [(seen.method, seen.path) for seen in upstream.seen] == [
        ("GET", "/v1/models?limit=5"),
        ("GET", "/v1/models"),
    ]
    assert upstream.seen[1].headers["x-api-key"] == CANARY


async def test_a_claude_model_in_chat_completions_goes_to_anthropic_with_a_bearer_key(
    keyed: Gateway, upstream: Upstream
) -> None:
    upstream.answers(json.dumps(CHAT).encode())
    _, headers, _ = await post(keyed, CHATS[0], CHATS[1] | {"model": "claude-sonnet-5-5"})
    assert headers["x-runyard-provider"] == "anthropic"
    assert upstream.seen[0].headers["authorization"] == f"Bearer {CANARY}"
    _, headers, _ = await post(keyed, CHATS[0], CHATS[1] | {"model": "scripted-small"})
    assert headers["x-runyard-provider"] == "scripted"
    assert len(upstream.seen) == 1
