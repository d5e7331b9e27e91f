"""Callers that leave, and providers that break off, go silent or are not there: each call ends, and is noted."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from .callers import MESSAGES, RESPONSES, anthropic_of, openai_of, post
from .conftest import Gateway, Upstream
from .samples import CHAT_STREAM, MESSAGES_STREAM, RESPONSE, RESPONSES_STREAM


async def never(_request: object) -> Any:
    await asyncio.sleep(3600)


async def test_a_caller_that_goes_away_ends_the_call_upstream(keyed: Gateway, upstream: Upstream) -> None:
    upstream.streams(*MESSAGES_STREAM[:4], hold=True)
    async with aiohttp.ClientSession() as session:
        headers = {"x-api-key": keyed.token}
        body = MESSAGES[1] | {"stream": True}
        async with session.post(keyed.url + MESSAGES[0], json=body, headers=headers) as response:
            await response.content.readany()
    async with asyncio.timeout(5):
        await upstream.dropped.wait()
    payload = await keyed.payload()
    assert payload.status == "aborted"
    assert payload.input_tokens == 950  # what the stream had told by then is still counted
    assert payload.http_status == 200


@pytest.mark.parametrize("ending", ["cut", "clean"])
async def test_a_dead_messages_stream_ends_in_an_error_that_the_sdk_raises(
    keyed: Gateway, upstream: Upstream, ending: str
) -> None:
    upstream.streams(*MESSAGES_STREAM[:4], MESSAGES_STREAM[4][:20], cut=ending == "cut")
    client = anthropic_of(keyed)
    texts: list[str] = []

    async def consume() -> None:
        events = await client.messages.create(
            model="claude-sonnet-5-5", max_tokens=10, messages=[{"role": "user", "content": "hi"}], stream=True
        )
        async for event in events:
            texts.append(event.type)  # noqa: PERF401 - what came before the error counts too

    with pytest.raises(Exception, match=r"stream (broke off|ended before its end)"):
        await consume()
    assert texts[-1] == "content_block_delta"
    payload = await keyed.payload()
    assert payload.status == "error"
    assert payload.error


@pytest.mark.parametrize("route", ["responses", "chat"])
async def test_a_dead_openai_stream_ends_in_an_error_that_the_sdk_raises(
    keyed: Gateway, upstream: Upstream, route: str
) -> None:
    stream = RESPONSES_STREAM if route == "responses" else CHAT_STREAM
    upstream.streams(*stream[:3], stream[3][:-9], cut=True)
    client = openai_of(keyed)

    async def consume() -> None:
        if route == "responses":
            async for _ in await client.responses.create(model="gpt-5", input="hi", stream=True):
                pass
            return
        messages: Any = [{"role": "user", "content": "hi"}]
        async for _ in await client.chat.completions.create(model="gpt-4o", messages=messages, stream=True):
            pass

    with pytest.raises(Exception, match="stream broke off"):
        await consume()
    assert (await keyed.payload()).status == "error"


async def test_a_stream_that_breaks_before_its_first_byte_is_an_http_error(keyed: Gateway, upstream: Upstream) -> None:
    upstream.streams(cut=True)
    status, _, body = await post(keyed, RESPONSES[0], RESPONSES[1] | {"stream": True})
    assert status == 502
    assert json.loads(body)["error"]["type"] == "server_error"


async def test_a_silent_stream_is_given_up_after_the_idle_limit(keyed: Gateway, upstream: Upstream) -> None:
    upstream.streams(*RESPONSES_STREAM[:3], hold=True)
    status, _, body = await post(keyed, RESPONSES[0], RESPONSES[1] | {"stream": True})
    assert status == 200
    assert b"went silent" in body
    assert body.startswith(b"".join(RESPONSES_STREAM[:3]))
    assert (await keyed.payload()).error == "the provider's stream went silent"


async def test_a_provider_that_never_answers_is_a_504_in_the_shape_of_the_api(
    keyed: Gateway, upstream: Upstream
) -> None:
    upstream.handler = never
    status, _, body = await post(keyed, *MESSAGES)
    assert status == 504
    assert json.loads(body)["error"]["type"] == "timeout_error"
    assert len(upstream.seen) == 1


async def test_a_provider_that_is_not_there_is_a_502_after_a_few_tries(start: Any) -> None:
    gateway = await start(openai_base_url="http://127.0.0.1:9/v1", upstream_retries=1)
    status, headers, body = await post(gateway, *RESPONSES)
    assert status == 502
    assert headers["x-runyard-provider"] == "openai"
    assert "cannot be reached" in json.loads(body)["error"]["message"]
    assert (await gateway.payload()).http_status == 502


async def test_a_call_is_tried_again_only_while_nothing_has_come_back(keyed: Gateway, upstream: Upstream) -> None:
    tries = 0

    async def handler(request: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries == 1:
            request.transport.close()
        return web.json_response(RESPONSE)

    upstream.handler = handler
    status, _, _ = await post(keyed, *RESPONSES)
    assert status == 200
    assert len(upstream.seen) == 2


async def test_a_call_that_was_answered_with_an_error_is_not_tried_again(keyed: Gateway, upstream: Upstream) -> None:
    upstream.answers(b'{"error": {"message": "busy"}}', status=503)
    status, _, _ = await post(keyed, *RESPONSES)
    assert status == 503
    assert len(upstream.seen) == 1


async def test_a_caller_that_leaves_before_the_first_byte_ends_the_call_upstream(
    keyed: Gateway, upstream: Upstream
) -> None:
    upstream.handler = never
    asking = asyncio.create_task(post(keyed, *RESPONSES))
    async with asyncio.timeout(5):
        await upstream.asked.wait()
        asking.cancel()
        await upstream.dropped.wait()
    payload = await keyed.payload()
    assert (payload.status, payload.http_status) == ("aborted", None)
