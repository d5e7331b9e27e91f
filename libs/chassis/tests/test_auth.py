"""Tokens: what is let in and what is not."""

from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from starlette.testclient import WebSocketDenialResponse

from runyard_chassis import (
    LLM_AUDIENCE,
    AdminDep,
    CallerDep,
    ServiceSettings,
    StreamCallerDep,
    TokenError,
    Tokens,
    create_app,
    derive_key,
)

KEY = "k" * 40
TOKENS = Tokens(KEY)
NOW = datetime.now(UTC)
CLAIMS: dict[str, Any] = {
    "aud": "runyard-api",
    "iat": NOW,
    "exp": NOW + timedelta(hours=1),
    "tid": "t1",
    "sub": "u1",
}


def forged(key: str = KEY, algorithm: str = "HS256", **changes: Any) -> str:
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}
    return jwt.encode(claims, key, algorithm=algorithm)


@pytest.fixture
def app() -> FastAPI:
    app = create_app("gateway", settings=ServiceSettings(jwt_secret_key=SecretStr(KEY)))

    @app.get("/me")
    async def me(who: CallerDep) -> dict[str, str]:
        return {"tenant": who.tenant, "user": who.user, "role": who.role, **who.authorization}

    @app.get("/stream")
    async def stream(who: StreamCallerDep) -> str:
        return who.user

    @app.get("/admin")
    async def admin(who: AdminDep) -> str:
        return who.user

    @app.websocket("/ws")
    async def ws(socket: WebSocket, who: StreamCallerDep) -> None:
        await socket.accept()
        await socket.send_text(who.user)

    return app


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    return TestClient(app)


def test_what_was_minted_is_what_is_read() -> None:
    claims = TOKENS.verify(TOKENS.mint(tenant="t1", user="u1", role="admin"))
    assert (claims.tenant, claims.user, claims.role, claims.audience) == ("t1", "u1", "admin", "runyard-api")
    assert claims.expires - claims.issued == timedelta(hours=24)


def test_a_run_token_names_session_and_run_and_no_user() -> None:
    tokens = Tokens(derive_key(KEY, "run"), LLM_AUDIENCE)
    claims = tokens.verify(tokens.mint(tenant="t1", session="s1", run="r1"))
    assert (claims.session, claims.run, claims.user) == ("s1", "r1", None)


def test_a_token_needs_somebody_to_belong_to() -> None:
    with pytest.raises(ValueError, match="a user or a session"):
        TOKENS.mint(tenant="t1")


BAD_TOKENS = {
    "expired": forged(exp=NOW - timedelta(minutes=1)),
    "with another key": forged(key="x" * 40),
    "unsigned": forged(key="", algorithm="none"),
    "with another algorithm": forged(key="k" * 64, algorithm="HS512"),
    "for another audience": forged(aud="runyard-llm"),
    "without an audience": forged(aud=None),
    "that never expires": forged(exp=None),
    "without an issue time": forged(iat=None),
    "from the future": forged(iat=NOW + timedelta(hours=1)),
    "without a tenant": forged(tid=None),
    "of nobody": forged(sub=None),
    "whose tenant is a subject wildcard": forged(tid="t.>"),
    "whose tenant is a path": forged(tid="../etc"),
    "that is none": "abc",
    "with its signature cut off": forged().rpartition(".")[0] + ".",
}


@pytest.mark.parametrize("token", BAD_TOKENS.values(), ids=BAD_TOKENS.keys())
def test_a_bad_token_is_refused(client: TestClient, token: str) -> None:
    with pytest.raises(TokenError):
        TOKENS.verify(token)
    answer = client.get("/me", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "unauthorized"
    assert token not in answer.text


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic dTpw", "bearer"])
def test_a_missing_token_is_refused(client: TestClient, header: str | None) -> None:
    answer = client.get("/me", headers={"Authorization": header} if header is not None else {})
    assert answer.status_code == 401


def test_a_run_token_is_no_user_token(client: TestClient) -> None:
    token = Tokens(KEY).mint(tenant="t1", session="s1")
    assert client.get("/me", headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_a_good_token_gives_the_caller(client: TestClient) -> None:
    token = TOKENS.mint(tenant="t1", user="u1")
    answer = client.get("/me", headers={"Authorization": f"bearer {token}"})
    assert answer.json() == {
        "tenant": "t1",
        "user": "u1",
        "role": "user",
        "Authorization": f"Bearer {token}",
    }


def test_only_stream_routes_take_the_token_from_the_address(client: TestClient) -> None:
    token = TOKENS.mint(tenant="t1", user="u1")
    assert client.get(f"/stream?token={token}").json() == "u1"
    assert client.get(f"/me?token={token}").status_code == 401


def test_admin_routes_need_the_role(client: TestClient) -> None:
    user, admin = TOKENS.mint(tenant="t1", user="u1"), TOKENS.mint(tenant="t1", user="a", role="admin")
    assert client.get("/admin", headers={"Authorization": f"Bearer {user}"}).json()["type"] == "forbidden"
    assert client.get("/admin", headers={"Authorization": f"Bearer {admin}"}).json() == "a"


def test_a_websocket_without_a_token_is_answered_401_before_the_handshake(client: TestClient) -> None:
    with pytest.raises(WebSocketDenialResponse) as caught, client.websocket_connect("/ws"):
        pass
    assert caught.value.status_code == 401
    assert caught.value.json()["type"] == "unauthorized"


def test_a_websocket_takes_the_token_from_the_address(client: TestClient) -> None:
    with client.websocket_connect(f"/ws?token={TOKENS.mint(tenant='t1', user='u1')}") as socket:
        assert socket.receive_text() == "u1"


def test_openapi_declares_the_bearer_scheme(app: FastAPI) -> None:
    document = app.openapi()
    assert document["components"]["securitySchemes"]["bearer"] == {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
    }
    assert document["paths"]["/me"]["get"]["security"] == [{"bearer": []}]
    assert "security" not in document["paths"]["/health"]["get"]


def test_derived_keys_are_those_of_rfc_5869() -> None:
    # Test case 3 of the RFC: SHA-256, no salt, no info.
    assert derive_key("\x0b" * 22, "", length=42) == (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )
    assert derive_key(KEY, "run") != derive_key(KEY, "other")


@given(st.text(max_size=200))
def test_no_text_is_taken_for_a_token_or_breaks_the_check(text: str) -> None:
    with pytest.raises(TokenError):
        TOKENS.verify(text)
