"""Who may call: run tokens for the model APIs, users' tokens for the service's own routes."""

import base64
import json
from datetime import timedelta
from typing import Any

import aiohttp
import jwt
import pytest

from runyard_chassis import API_AUDIENCE, TokenError, Tokens
from runyard_llm_gateway.access import Refused, RunAccess

from .callers import CHATS, GENERATE, MESSAGES, RESPONSES, post
from .conftest import JWT_KEY, RUN_KEY, Gateway, Upstream, run_tokens

ROUTES = {
    "responses": RESPONSES,
    "chat": CHATS,
    "messages": MESSAGES,
    "count": ("/v1/messages/count_tokens", MESSAGES[1]),
    "gemini": GENERATE,
    "gemini count": ("/v1beta/models/gemini-2.5-pro:countTokens", GENERATE[1]),
}
_GOOGLE = {"authentication_error": "UNAUTHENTICATED", "invalid_request_error": "INVALID_ARGUMENT"}


def refused_as(api: str, kind: str, answer: bytes) -> bool:
    """Whether an error says what it should in the shape of the API."""
    error = json.loads(answer)
    if "gemini" in api:
        return error["error"]["status"] == _GOOGLE[kind] and isinstance(error["error"]["code"], int)
    return error["error"]["type"] == kind and ("type" in error) == (api in ("messages", "count"))


def _unsigned(tenant: str) -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    claims = {"aud": "runyard-llm", "tid": tenant, "sid": "s", "rid": "r", "iat": 1, "exp": 4102444800}
    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."


def _bad_tokens(tenant: str) -> dict[str, str]:
    good: dict[str, Any] = {"tenant": tenant, "session": "s", "run": "r"}
    return {
        "none": "",
        "garbage": "sk-not-a-token",
        "expired": run_tokens().mint(**good, lifetime=timedelta(seconds=-60)),
        "other key": run_tokens(key="another-key-0123456789abcdef0123456789").mint(**good),
        "the users' key": run_tokens(key=JWT_KEY).mint(**good),
        "alg none": _unsigned(tenant),
        "other audience": run_tokens(audience=API_AUDIENCE).mint(**good),
        "a user's token": Tokens(JWT_KEY).mint(tenant=tenant, user="u"),
        "another algorithm": jwt.encode(
            {"aud": "runyard-llm", "tid": tenant, "sid": "s", "rid": "r", "iat": 1, "exp": 4102444800},
            RUN_KEY,
            algorithm="HS512",
        ),
    }


async def test_without_a_good_token_every_model_api_answers_401_in_its_own_shape(
    keyed: Gateway, upstream: Upstream
) -> None:
    for name, token in _bad_tokens(keyed.tenant).items():
        for api, route in ROUTES.items():
            for header in ("authorization", "x-api-key", "x-goog-api-key"):
                value = f"Bearer {token}" if header == "authorization" else token
                sent = {"authorization": "", "x-api-key": "", "x-goog-api-key": ""} | {header: value}
                status, headers, body = await post(keyed, *route, **sent)
                assert status == 401, (name, api, header)
                assert headers["www-authenticate"].startswith("Bearer")
                assert refused_as(api, "authentication_error", body), (name, api, body)
    assert upstream.seen == []


async def test_the_api_key_header_is_as_good_as_the_bearer_token(offline: Gateway) -> None:
    status, headers, _ = await post(offline, *MESSAGES, **{"authorization": "", "x-api-key": offline.token})
    assert status == 200
    assert headers["x-runyard-provider"] == "scripted"


async def test_a_token_that_is_for_no_run_is_refused_with_403(offline: Gateway) -> None:
    token = run_tokens().mint(tenant=offline.tenant, session="s")
    status, _, body = await post(offline, *RESPONSES, authorization=f"Bearer {token}")
    assert status == 403
    assert json.loads(body)["error"]["type"] == "permission_error"


async def test_the_list_of_models_needs_a_token_too(offline: Gateway) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{offline.url}/v1/models") as response:
            assert response.status == 401
        headers = {"authorization": f"Bearer {offline.token}"}
        async with session.get(f"{offline.url}/v1/models", headers=headers) as response:
            assert "runyard-scripted" in [model["id"] for model in (await response.json())["data"]]


async def test_a_body_over_the_limit_is_refused_before_it_is_read_whole(start: Any) -> None:
    gateway = await start(max_body_bytes=1000)
    status, _, body = await post(gateway, RESPONSES[0], b'{"model": "m", "input": "' + b"x" * 2000 + b'"}')
    assert status == 413
    assert "1000" in json.loads(body)["error"]["message"]


async def test_a_body_that_is_no_request_is_a_400_in_the_shape_of_the_api(offline: Gateway) -> None:
    for body in (b"", b"{", b"[]", b'{"input": "x"}', b'{"model": 3}', b'{"model": "m"}', b"\xff"):
        for api, (path, _) in ROUTES.items():
            status, _, answer = await post(offline, path, body)
            assert status == 400, (body, api)
            assert refused_as(api, "invalid_request_error", answer), (body, api)


@pytest.mark.parametrize("name", ["key", "access_token", "%6bey"])
async def test_a_key_in_the_address_is_refused_and_goes_nowhere(
    keyed: Gateway, upstream: Upstream, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    for token in (keyed.token, "another-secret"):
        path = f"{GENERATE[0]}?alt=sse&{name}={token}"
        status, _, body = await post(keyed, path, GENERATE[1], **{"x-goog-api-key": keyed.token})
        assert status == 401
        assert json.loads(body)["error"]["status"] == "UNAUTHENTICATED"
        assert "x-goog-api-key" in json.loads(body)["error"]["message"]
        assert token not in body.decode() + "".join(capfd.readouterr())
    assert upstream.seen == []


def test_a_token_is_verified_once_and_forgotten_when_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(Tokens):
        count = 0

        def verify(self, token: str) -> Any:
            self.count += 1
            return super().verify(token)

    tokens = Counting(RUN_KEY, "runyard-llm")
    access = RunAccess(tokens)
    headers = ((b"authorization", b"Bearer " + run_tokens().mint(tenant="t", session="s", run="r").encode()),)
    assert {access.caller(headers).run for _ in range(5)} == {"r"}
    assert tokens.count == 1
    monkeypatch.setattr("runyard_llm_gateway.access.time.time", lambda: 4102444800.0)

    def too_late(token: str) -> Any:
        raise TokenError("expired", expired=True)

    monkeypatch.setattr(tokens, "verify", too_late)
    with pytest.raises(Refused, match="expired"):
        access.caller(headers)


def test_no_more_than_a_few_thousand_tokens_are_remembered() -> None:
    access = RunAccess(run_tokens())
    for number in range(4200):
        token = run_tokens().mint(tenant="t", session="s", run=f"r{number}")
        access.caller(((b"x-api-key", token.encode()),))
    assert len(access._known)  # pyright: ignore[reportPrivateUsage] == 4096
