"""Fetch, push, pull requests and credentials, over HTTP."""

import uuid
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from pydantic import SecretStr

from runyard_chassis.sealing import PrivateKey
from runyard_events.catalogue import CredentialRemoved, CredentialSet
from runyard_events.commands import credential_context
from runyard_events.subjects import Scope

from .conftest import Running, Start, Story
from .histories import imported, opened
from .owners import Owners

KEY = PrivateKey.derive(SecretStr("the workspace service's own key"), "credentials")
SECRET = "test-token-a1b2c3d4e5f6a7b8"


@pytest_asyncio.fixture
async def workspace_service() -> AsyncGenerator[str]:
    """The part of the workspace service that gives out its key and lists credentials."""

    async def key(request: web.Request) -> web.Response:
        assert request.headers["authorization"].startswith("Bearer ")
        return web.json_response({"public_key": KEY.public})

    async def listed(request: web.Request) -> web.Response:
        return web.json_response({"items": [{"credential_id": "c", "host": "github.com", "username": "bot"}]})

    app = web.Application()
    app.add_routes([web.get("/credentials/key", key), web.get("/credentials", listed)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}"
    await runner.cleanup()


@pytest_asyncio.fixture
async def remote(start_gateway: Start, workspace_service: str, owners: Owners) -> AsyncGenerator[Running]:
    async with start_gateway(workspace_url=workspace_service) as one:
        yield one


@pytest_asyncio.fixture
async def session(story: Story, remote: Running) -> tuple[str, str]:
    """A workspace and a session on it."""
    workspace, session = str(uuid.uuid4()), str(uuid.uuid4())
    await story.tell(story.workspace(workspace), *imported(), source="workspace")
    seq = await story.tell(story.session(session), *opened(workspace))
    await remote.parts.consistency.shows_all(seq)
    return workspace, session


async def test_a_workspace_is_fetched(remote: Running, tenant: str, session: tuple[str, str]) -> None:
    async with remote.client(tenant) as client:
        answer = await client.post(f"/api/workspaces/{session[0]}/fetch")
        assert answer.status_code == 200, answer.text
        assert answer.json() == {"workspace_id": session[0], "branches": {"main": "c0ffee"}}
        assert int(answer.headers["x-runyard-seq"]) > 0
        # It is as usable as before.
        assert (await client.get(f"/api/workspaces/{session[0]}")).json()["status"] == "ready"


async def test_a_session_is_pushed_with_and_without_a_body(
    remote: Running, tenant: str, session: tuple[str, str]
) -> None:
    async with remote.client(tenant) as client:
        plain = await client.post(f"/api/sessions/{session[1]}/push")
        assert plain.json() == {"branch": "runyard/s", "commit": "c0ffee", "up_to_date": False, "left_out": []}
        named = await client.post(f"/api/sessions/{session[1]}/push", json={"branch": "x/y", "message": "Why"})
        assert named.json()["branch"] == "x/y"
        conflict = await client.post(f"/api/sessions/{session[1]}/push", json={"branch": "taken"})
        assert (conflict.status_code, conflict.json()["type"]) == (409, "sync-conflict")
        assert conflict.json()["files"] == ["README.md"]


async def test_a_pull_request_is_opened(remote: Running, tenant: str, session: tuple[str, str]) -> None:
    async with remote.client(tenant) as client:
        answer = await client.post(f"/api/sessions/{session[1]}/pull-request", json={"title": "T", "draft": True})
        assert answer.status_code == 200, answer.text
        assert (answer.json()["number"], answer.json()["url"][-7:]) == (7, "/pull/7")
        assert (await client.post(f"/api/sessions/{session[1]}/pull-request", json={})).status_code == 422


async def test_a_credential_reaches_its_owner_sealed(
    remote: Running, tenant: str, story: Story, capfd: pytest.CaptureFixture[str]
) -> None:
    identifier = str(uuid.uuid4())
    path = f"/api/teams/{tenant}/credentials"
    async with remote.client(tenant) as client:
        given = {"host": "GitHub.com:443", "username": "bot", "secret": SECRET}
        answer = await client.put(f"{path}/{identifier}", json=given)
        assert answer.status_code == 200, answer.text
        assert answer.json() == {
            "credential_id": identifier, "host": "github.com", "username": "bot", "set_by": "ada", "set_at": None,
        }  # fmt: skip
        assert (await client.get(path)).json()["items"][0]["credential_id"] == "c"
        assert (await client.delete(f"{path}/{identifier}")).status_code == 204
    events = [one.event.payload async for one in story.log.replay(Scope.team(tenant).subject("effect"))]
    assert [type(one) for one in events] == [CredentialSet, CredentialRemoved]
    assert SECRET not in events[0].sealed
    context = credential_context(tenant, identifier, "github.com", "bot")
    assert KEY.open(events[0].sealed, context=context).get_secret_value() == SECRET
    out, err = capfd.readouterr()
    assert SECRET not in out + err


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"host": "github.com"},
        {"host": "https://github.com", "secret": SECRET},
        {"host": "github.com:99999", "secret": SECRET},
        {"host": "github.com", "secret": ""},
        {"host": "github.com", "secret": f"{SECRET}\nhost=x"},
        {"host": "github.com", "secret": [SECRET]},
        {"host": "github.com", "username": "a\nb", "secret": SECRET},
        {"host": "github.com", "secret": SECRET, "more": 1},
    ],
)
async def test_a_credential_that_is_none_is_refused_and_not_repeated(
    remote: Running, tenant: str, body: dict[str, Any]
) -> None:
    async with remote.client(tenant) as client:
        answer = await client.put(f"/api/teams/{tenant}/credentials/{uuid.uuid4()}", json=body)
    assert answer.status_code == 422
    assert SECRET not in answer.text


async def test_only_admins_have_to_do_with_credentials(remote: Running, tenant: str) -> None:
    token = remote.tokens.mint(tenant=tenant, user="eve", role="user")
    path = f"/api/teams/{tenant}/credentials"
    async with remote.client(tenant) as client:
        client.headers["Authorization"] = f"Bearer {token}"
        assert (await client.get(path)).status_code == 403
        body = {"host": "github.com", "secret": SECRET}
        assert (await client.put(f"{path}/{uuid.uuid4()}", json=body)).status_code == 403
        assert (await client.delete(f"{path}/{uuid.uuid4()}")).status_code == 403


async def test_without_the_workspace_service_no_secret_is_taken(
    start_gateway: Start, tenant: str, owners: Owners
) -> None:
    async with start_gateway(workspace_url="http://127.0.0.1:1") as gateway, gateway.client(tenant) as client:
        body = {"host": "github.com", "secret": SECRET}
        answer = await client.put(f"/api/teams/{tenant}/credentials/{uuid.uuid4()}", json=body)
        assert (answer.status_code, answer.json()["type"]) == (503, "workspace-unavailable")
