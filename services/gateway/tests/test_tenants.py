"""No token, a bad one, another tenant's: 401 or 404 on every route and stream, and nothing of it visible."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest
import pytest_asyncio
from fastapi.routing import APIRoute
from nats.aio.client import Client

from runyard_chassis import LLM_AUDIENCE, Tokens
from runyard_events.catalogue import PreviewShared, RunApprovalRequested
from runyard_gateway.api.routes import ROUTERS

from .conftest import KEY, Running, Story
from .histories import (
    call,
    checkpoint,
    completed,
    contained,
    imported,
    measured,
    opened,
    previewed,
    requested,
    ruled,
    worked,
)
from .owners import Owners

BODIES: dict[str, Any] = {
    "/api/workspaces/import": {"source_type": "github", "source_uri": "psf/requests"},
    "/api/sessions": {"repo_url": "psf/requests", "runner_type": "codex"},
    "/api/sessions/{session_id}/prompt": {"prompt": "Do it"},
    "/api/runs/{run_id}/steer": {"text": "Faster"},
    "/api/runs/{run_id}/approvals/{approval_id}": {"decision": "accept"},
    "/api/teams/{team_id}/sandbox-rules": {"enabled": True},
    "/api/teams/{team_id}/credentials/{credential_id}": {"host": "github.com", "secret": "a token"},
    "/api/sessions/{session_id}/pull-request": {"title": "A title"},
    "/api/previews": {"workspace_id": "00000000-0000-4000-8000-00000000000e"},
    "/api/previews/{preview_id}/shares": {"expires_in": 600},
    "/api/agents/spawn": {
        "task": "Do it",
        "agentType": "codex",
        "repositoryUrl": "psf/requests",
        "teamId": "00000000-0000-4000-8000-000000000000",
    },
}
BEHIND = (
    "/workspace/files",
    "/diff",
    "/container/logs",
    "/container/stats",
    "/credentials",
    "{preview_id}/logs",
    "{preview_id}/stats",
)
"""Parts of routes that another service answers, which is not there in these tests."""
LISTS = {
    "/api/workspaces",
    "/api/sessions",
    "/api/runs",
    "/api/previews",
    "/api/stats/dashboard",
    "/api/health/services",
}
"""Routes that name nothing: another tenant gets his own, empty, answer."""

OF_CONTAINERS = "/api/container-webhooks/"
"""Routes that take a session's own token and no user's, whoever he is (see `tests/e2e/test_outside_runner.py`)."""


def every_route() -> Iterator[tuple[str, str]]:
    """Method and path of every HTTP route of the gateway."""
    for router in ROUTERS:
        for route in router.routes:
            if isinstance(route, APIRoute):
                for method in sorted(route.methods or ()):
                    yield method, route.path


ROUTES = list(every_route())


def test_the_table_holds_every_route_of_the_api(gateway_paths: set[str]) -> None:
    assert {path for _, path in ROUTES} == gateway_paths


@pytest.fixture
def gateway_paths() -> set[str]:
    from runyard_gateway.app import build  # noqa: PLC0415
    from runyard_gateway.settings import Settings  # noqa: PLC0415

    paths = build(Settings(environment="test")).app.openapi()["paths"]
    return {path.replace("{path}", "{path:path}").replace("{reference}", "{reference:path}") for path in paths} - {
        "/health",
        "/ready",
    }


@pytest_asyncio.fixture
async def things(story: Story, gateway: Running, nats_client: Client, tenant: str) -> dict[str, str]:
    """One of everything that the test's tenant owns."""
    ws, session, run = (str(uuid.uuid4()) for _ in range(3))
    await story.tell(story.workspace(ws), *imported(), source="workspace")
    await story.tell(story.session(session), *opened(ws))
    await story.tell(story.run(session, run), *requested(ws, "a secret prompt"))
    asked = RunApprovalRequested(
        approval_id="a1", ask_kind="tool", title="t", detail={}, options=("accept",), fingerprint="f"
    )
    scope = story.run(session, run)
    await story.tell(scope, *worked(session), asked, *completed(), source="runner-codex.1")
    await story.tell(scope, call(), source="llm-gateway.1")
    await story.tell(scope, checkpoint(), source="workspace")
    await story.tell(story.team(), ruled("secret.example.com"))
    preview, share = str(uuid.uuid4()), str(uuid.uuid4())
    shared = PreviewShared(share_id=share, expires_at=datetime.now(UTC) + timedelta(hours=1))
    await story.tell(story.preview(preview), *previewed(ws, session), shared)
    seq = await story.tell(story.session(session), *contained(), measured(), source="orchestrator.sandbox")
    reference = f"{tenant}/{run}/{uuid.uuid4()}"
    store = await nats_client.jetstream().object_store("outputs")
    await store.put(reference, b"a secret output")
    await gateway.parts.consistency.shows_all(seq)
    return {
        "team_id": tenant,
        "workspace_id": ws,
        "session_id": session,
        "run_id": run,
        "approval_id": "a1",
        "preview_id": preview,
        "share_id": share,
        "credential_id": "00000000-0000-4000-8000-00000000000c",
        "path:path": "README.md",
        "reference:path": reference,
    }


def address(path: str, things: dict[str, str]) -> str:
    for name, value in things.items():
        path = path.replace(f"{{{name}}}", value)
    return path


def bad_tokens(tenant: str) -> dict[str, str | None]:
    good = Tokens(KEY).mint(tenant=tenant, user="ada")
    claims = jwt.decode(good, options={"verify_signature": False})
    header, payload, _ = good.split(".")
    return {
        "none": None,
        "nonsense": "nonsense",
        "expired": Tokens(KEY).mint(tenant=tenant, user="ada", lifetime=timedelta(minutes=-5)),
        "another key": Tokens("another-key-that-is-long-enough-to-be-one").mint(tenant=tenant, user="ada"),
        "another audience": Tokens(KEY, LLM_AUDIENCE).mint(tenant=tenant, session="s", run="r"),
        "another algorithm": jwt.encode(claims, KEY, algorithm="HS512"),
        "no algorithm": jwt.encode(claims, "", algorithm="none"),
        "no signature": f"{header}.{payload}.",
        "no user": Tokens(KEY).mint(tenant=tenant, session="s"),
    }


async def test_every_route_wants_a_good_token(gateway: Running, tenant: str, things: dict[str, str]) -> None:
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=20) as client:
        for kind, token in bad_tokens(tenant).items():
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            for method, path in ROUTES:
                answer = await client.request(method, address(path, things), json=BODIES.get(path), headers=headers)
                assert answer.status_code == 401, (kind, method, path)
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_another_tenant_sees_nothing(gateway: Running, things: dict[str, str], owners: Owners) -> None:
    other = str(uuid.uuid4())
    names = {value for name, value in things.items() if name not in {"approval_id", "credential_id", "path:path"}}
    async with gateway.client(other) as client:
        for method, path in ROUTES:
            if path in {"/api/workspaces/import", "/api/sessions"} and method == "POST":
                continue
            answer = await client.request(method, address(path, things), json=BODIES.get(path))
            expected = 401 if path.startswith(OF_CONTAINERS) else 200 if path in LISTS and method == "GET" else 404
            assert answer.status_code == expected, (method, path, answer.text)
            assert not any(name in answer.text for name in names), (method, path)
            assert "secret" not in answer.text
        figures = (await client.get("/api/stats/dashboard")).json()
        assert (figures["workspaces_count"], figures["runs_total"], figures["recent_activity"]) == (0, 0, [])
        body = {"workspace_id": things["workspace_id"], "runner_type": "codex"}
        assert (await client.post("/api/sessions", json=body)).status_code == 404


async def test_the_owner_sees_it_all(gateway: Running, tenant: str, things: dict[str, str]) -> None:
    async with gateway.client(tenant) as client:
        for method, path in ROUTES:
            if method == "GET" and not any(part in path for part in BEHIND):
                if path == "/api/sessions/{session_id}/events":
                    continue
                answer = await client.get(address(path, things))
                assert answer.status_code == (401 if path.startswith(OF_CONTAINERS) else 200), (path, answer.text)
        output = await client.get(address("/api/outputs/{reference:path}", things))
        assert output.content == b"a secret output"
        assert output.headers["content-disposition"] == "attachment"


async def test_a_stream_carries_nothing_of_another_tenant(gateway: Running, tenant: str, story: Story) -> None:
    """Two tenants with the very same ids: each stream has its own events only."""
    ws, session, run = (str(uuid.uuid4()) for _ in range(3))
    stranger = Story(story.log, str(uuid.uuid4()), {})
    await story.tell(story.session(session), *opened(ws))
    await story.tell(story.run(session, run), *requested(ws, "mine"))
    await stranger.tell(stranger.run(session, run), *requested(ws, "theirs"))
    end = await story.tell(story.run(session, run), *completed())
    await gateway.parts.consistency.shows_all(end)
    async with gateway.client(tenant) as client:
        text = (await client.get(f"/api/runs/{run}/events")).text
    assert "mine" in text
    assert "theirs" not in text
    async with gateway.client(stranger.tenant) as client:
        assert (await client.get(f"/api/runs/{run}/events")).status_code == 404
