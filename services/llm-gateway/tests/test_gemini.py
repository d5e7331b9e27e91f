"""What is special to Gemini's API: its paths, its key's header, its counts, its errors."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from runyard_llm_gateway.paths import Address, address
from runyard_llm_gateway.routing import Endpoints, endpoints
from runyard_llm_gateway.settings import LlmGatewaySettings

from .callers import GENERATE, GENERATE_STREAM, post
from .conftest import CANARY, PROVIDER_KEYS, Gateway, Upstream
from .samples import CONTENT, CONTENT_STREAM

COUNT = "/v1beta/models/gemini-2.5-pro:countTokens"


async def test_cached_tokens_and_thoughts_are_counted_and_priced(keyed: Gateway, upstream: Upstream) -> None:
    upstream.streams(*CONTENT_STREAM)
    _, headers, _ = await post(keyed, *GENERATE_STREAM)
    assert headers["x-runyard-provider"] == "google"
    payload = await keyed.payload()
    assert (payload.api, payload.provider, payload.model) == ("generate_content", "google", "gemini-2.5-pro")
    assert (payload.input_tokens, payload.output_tokens) == (1000, 60)  # thoughts are paid for as output
    assert (payload.cached_input_tokens, payload.reasoning_tokens) == (600, 40)
    assert payload.priced
    assert payload.cost_usd > 0
    assert 0 < payload.first_token_ms <= payload.latency_ms


async def test_the_run_token_stands_where_the_key_would_and_only_the_key_goes_on(
    keyed: Gateway, upstream: Upstream
) -> None:
    upstream.answers(json.dumps(CONTENT).encode())
    sent = {"authorization": "", "x-goog-api-key": keyed.token, "x-goog-api-client": "google-genai-sdk/1"}
    status, _, _ = await post(keyed, f"{GENERATE[0]}?fields=candidates", GENERATE[1], **sent)
    assert status == 200
    seen = upstream.seen[0]
    assert seen.path == f"{GENERATE[0]}?fields=candidates"
    assert seen.headers["x-goog-api-key"] == CANARY
    assert seen.headers["x-goog-api-client"] == "google-genai-sdk/1"
    assert "authorization" not in seen.headers
    assert keyed.token not in str(seen)


async def test_the_apis_other_version_goes_on_as_it_came(keyed: Gateway, upstream: Upstream) -> None:
    upstream.answers(json.dumps(CONTENT).encode())
    path = GENERATE[0].replace("v1beta", "v1")
    assert (await post(keyed, path, GENERATE[1]))[0] == 200
    assert upstream.seen[0].path == path
    assert (await keyed.payload()).output_tokens == 60


async def test_counting_tokens_is_passed_on_and_costs_nothing(keyed: Gateway, upstream: Upstream) -> None:
    counted = b'{"totalTokens": 31}'
    upstream.answers(counted)
    _, _, body = await post(keyed, COUNT, GENERATE[1])
    assert body == counted
    assert upstream.seen[0].path == COUNT
    payload = await keyed.payload()
    assert (payload.api, payload.cost_usd, payload.input_tokens) == ("gemini_count_tokens", 0.0, None)


@pytest.mark.parametrize("version", ["v1", "v1beta"])
async def test_the_providers_list_of_models_passes_through(keyed: Gateway, upstream: Upstream, version: str) -> None:
    listed = b'{"models": [{"name": "models/gemini-real"}]}'
    upstream.answers(listed)
    async with (
        aiohttp.ClientSession(headers={"x-goog-api-key": keyed.token}) as session,
        session.get(f"{keyed.url}/{version}/models?pageSize=5") as response,
    ):
        assert await response.read() == listed
    assert (upstream.seen[0].method, upstream.seen[0].path) == ("GET", f"/{version}/models?pageSize=5")
    assert upstream.seen[0].headers["x-goog-api-key"] == CANARY


async def test_offline_the_list_names_what_the_scripted_model_answers_to(offline: Gateway) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{offline.url}/v1beta/models") as response:
            assert (response.status, (await response.json())["error"]["status"]) == (401, "UNAUTHENTICATED")
        async with session.get(f"{offline.url}/v1beta/models", headers={"x-goog-api-key": offline.token}) as response:
            models = (await response.json())["models"]
    assert {"models/gemini-2.5-pro", "models/runyard-scripted"} <= {model["name"] for model in models}
    assert "generateContent" in models[0]["supportedGenerationMethods"]


async def test_the_key_is_taken_out_of_an_error_that_repeats_it(keyed: Gateway, upstream: Upstream) -> None:
    error = {"error": {"code": 400, "message": f"API key not valid: {CANARY}", "status": "INVALID_ARGUMENT"}}
    upstream.answers(json.dumps(error).encode(), status=400)
    status, headers, body = await post(keyed, *GENERATE)
    assert (status, b"API key not valid: [redacted]" in body) == (400, True)
    assert CANARY not in body.decode() + str(headers)
    stored = (await keyed.events())[0]
    assert CANARY.encode() not in stored.data
    assert (stored.event.payload.status, stored.event.payload.http_status) == ("error", 400)


@pytest.mark.parametrize("ending", ["cut", "clean"])
async def test_a_dead_stream_ends_in_an_error_of_googles_shape(keyed: Gateway, upstream: Upstream, ending: str) -> None:
    upstream.streams(*CONTENT_STREAM[:2], CONTENT_STREAM[2][:30], cut=ending == "cut")
    status, _, body = await post(keyed, *GENERATE_STREAM)
    assert status == 200
    whole = b"".join(CONTENT_STREAM[:2])
    assert body.startswith(whole)
    event = json.loads(body.removeprefix(whole).removeprefix(b"data: "))
    assert event["error"]["code"] == 502
    assert event["error"]["status"] == "UNAVAILABLE"
    payload = await keyed.payload()
    assert payload.status == "error"
    assert (payload.input_tokens, payload.output_tokens) == (1000, 43)  # what was told by then


async def test_an_error_inside_a_stream_is_the_providers_and_noted(keyed: Gateway, upstream: Upstream) -> None:
    error = b'data: {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}\r\n\r\n'
    upstream.streams(CONTENT_STREAM[0], error)
    _, _, body = await post(keyed, *GENERATE_STREAM)
    assert body == CONTENT_STREAM[0] + error
    assert (await keyed.payload()).error == "the provider reported an error in its stream"


async def test_a_prompt_that_the_provider_blocks_is_an_end_and_no_failure(keyed: Gateway, upstream: Upstream) -> None:
    blocked = b'data: {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 9}}\r\n\r\n'
    upstream.streams(blocked)
    _, _, body = await post(keyed, *GENERATE_STREAM)
    assert body == blocked
    payload = await keyed.payload()
    assert (payload.status, payload.input_tokens) == ("ok", 9)


async def test_a_provider_that_is_not_there_is_told_in_googles_shape(start: Any) -> None:
    gateway = await start(google_gemini_base_url="http://127.0.0.1:9", upstream_retries=0)
    status, headers, body = await post(gateway, *GENERATE)
    assert status == 502
    assert headers["x-runyard-provider"] == "google"
    assert json.loads(body)["error"]["status"] == "UNAVAILABLE"


async def test_a_caller_that_leaves_ends_the_call_and_is_counted(keyed: Gateway, upstream: Upstream) -> None:
    upstream.streams(*CONTENT_STREAM[:2], hold=True)
    headers = {"x-goog-api-key": keyed.token}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(keyed.url + GENERATE_STREAM[0], json=GENERATE[1]) as response,
    ):
        await response.content.readany()
    async with asyncio.timeout(5):
        await upstream.dropped.wait()
    payload = await keyed.payload()
    assert (payload.status, payload.input_tokens) == ("aborted", 1000)


async def test_a_model_named_scripted_is_the_offline_one_keys_or_not(keyed: Gateway, upstream: Upstream) -> None:
    path = "/v1beta/models/scripted-small:generateContent"
    status, headers, _ = await post(keyed, path, GENERATE[1])
    assert (status, headers["x-runyard-provider"]) == (200, "scripted")
    assert upstream.seen == []


@pytest.mark.parametrize(
    ("path", "query", "place"),
    [
        ("/v1beta/models/m-1.5:generateContent", b"", Address("generate_content", "m-1.5")),
        ("/v1beta/models/m:generateContent", b"alt=sse", Address("generate_content", "m")),
        ("/v1beta/models/m:streamGenerateContent", b"", Address("generate_content", "m")),
        ("/v1beta/models/m:streamGenerateContent", b"a=b&alt=sse", Address("generate_content", "m", stream=True)),
        ("/v1beta/models/m:countTokens", b"", Address("gemini_count_tokens", "m")),
        ("/v1/models/m:generateContent", b"", Address("generate_content", "m")),
        ("/v1beta/models/m:embedContent", b"", None),
        ("/v1beta/models/a/b:generateContent", b"", None),
        ("/v1beta/models/..%2Fx:generateContent", b"", None),
        ("/v1beta/models/m", b"", None),
        ("/v1/messages", b"beta=true", Address("messages")),
    ],
)
def test_the_path_says_which_model_is_asked_and_whether_events_come(
    path: str, query: bytes, place: Address | None
) -> None:
    assert address(path, query) == place


def _endpoints(**settings: Any) -> Endpoints:
    chosen = LlmGatewaySettings(
        _env_file=None,  # pyright: ignore[reportCallIssue]
        jwt_secret_key=SecretStr("jwt-key-of-the-tests-0123456789abcdef"),
        **(dict.fromkeys((*PROVIDER_KEYS, "google_gemini_base_url")) | settings),
    )
    return endpoints(chosen)


def test_geminis_own_key_goes_before_googles_and_each_is_enough() -> None:
    own, general = SecretStr("gemini"), SecretStr("google")
    for settings, key in (
        ({"gemini_api_key": own, "google_api_key": general}, "gemini"),
        ({"google_api_key": general}, "google"),
    ):
        found = _endpoints(**settings).gemini
        assert found is not None
        assert found.headers() == {"x-goog-api-key": key}
        assert found.base == "https://generativelanguage.googleapis.com"
    assert _endpoints().gemini is None


@pytest.mark.parametrize("base", ["http://models", "http://models/", "http://models/v1beta"])
def test_a_base_url_without_a_key_is_used_without_one(base: str) -> None:
    found = _endpoints(google_gemini_base_url=base).gemini
    assert found is not None
    assert (found.base, found.headers()) == ("http://models", {})
