"""A team's rules, its stream of all agents, and agents set to work in one request."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from runyard_events.catalogue import (
    RawReceived,
    RunDispatched,
    RunError,
    RunStarted,
    SandboxStopped,
    ToolCall,
    WorkspaceImported,
)
from runyard_gateway.imports import spellings_of

from .conftest import Running, Start, Story
from .histories import completed, contained, imported, measured, opened, requested, worked
from .owners import Owners

RULES = {
    "enabled": True,
    "process_fallback": False,
    "egress": ["packages.example", "*.example.com:8443"],
    "idle_stop_seconds": 60,
    "runtime": "runsc",
}


async def test_rules_are_kept_whole_and_say_who_made_them(api: httpx.AsyncClient, tenant: str, owners: Owners) -> None:
    path = f"/api/teams/{tenant}/sandbox-rules"
    assert set((await api.get(path)).json().values()) == {None}
    put = await api.put(path, json=RULES)
    assert put.status_code == 200, put.text
    assert put.json() == {**RULES, "changed_by": "ada", "changed_at": put.json()["changed_at"]}
    assert (await api.get(path)).json() == put.json()
    assert (await api.put(path, json={"egress": []})).json()["egress"] == []
    assert (await api.get(path)).json()["runtime"] is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"egress": ["http://packages.example"]},
        {"egress": ["*"]},
        {"egress": ["a b"]},
        {"egress": ["host:99999"]},
        {"egress": ["host:0"]},
        {"egress": ["x.org\n"]},
        {"idle_stop_seconds": 1},
        {"runtime": "../runc"},
        {"unknown": 1},
    ],
)
async def test_rules_that_mean_nothing_are_refused(api: httpx.AsyncClient, tenant: str, wrong: dict[str, Any]) -> None:
    answer = await api.put(f"/api/teams/{tenant}/sandbox-rules", json=wrong)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_only_an_admin_changes_rules_and_only_those_of_the_own_team(
    gateway: Running, tenant: str, owners: Owners
) -> None:
    member = gateway.tokens.mint(tenant=tenant, user="bob", role="user")
    headers = {"Authorization": f"Bearer {member}"}
    async with httpx.AsyncClient(base_url=gateway.url, headers=headers, trust_env=False) as client:
        path = f"/api/teams/{tenant}/sandbox-rules"
        assert (await client.put(path, json=RULES)).status_code == 403
        assert (await client.get(path)).status_code == 200
    async with gateway.client(str(uuid4())) as stranger:
        for answer in (await stranger.put(path, json=RULES), await stranger.get(path)):
            assert (answer.status_code, answer.json()["type"]) == (404, "team-not-found")
    async with gateway.client(tenant) as own:
        assert (await own.get(path)).json()["changed_at"] is None


def team_socket(gateway: Running, tenant: str, team: str | None = None, **query: object) -> connect:
    asked = "&".join(f"{name.rstrip('_')}={value}" for name, value in query.items())
    address = f"{gateway.url.replace('http', 'ws', 1)}/ws/teams/{team or tenant}?token={gateway.token(tenant)}&{asked}"
    return connect(address)


async def messages(socket: ClientConnection, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while len(found) < count:
        message = json.loads(await asyncio.wait_for(socket.recv(), 10))
        if message["type"] != "ping":
            found.append(message)
    return found


async def test_a_team_hears_of_all_its_agents_and_of_nobody_elses(gateway: Running, story: Story, tenant: str) -> None:
    sessions, runs = ([str(uuid4()) for _ in range(2)] for _ in range(2))
    stranger = Story(story.log, str(uuid4()), {})
    await story.tell(story.session(sessions[0]), *opened("before"))
    async with team_socket(gateway, tenant) as socket:
        await stranger.tell(stranger.run("x", "y"), *requested("w", "theirs"))
        for session, run in zip(sessions, runs, strict=True):
            raw = RawReceived({"secret": 1})
            await story.tell(story.session(session), *contained(), measured(), source="orchestrator.sandbox")
            await story.tell(story.run(session, run), *requested("w"), *worked(session, words=1), raw, *completed())
        heard = await messages(socket, 18)
    for session, run in zip(sessions, runs, strict=True):
        mine = [one for one in heard if one["session_id"] == session]
        assert [(one["type"], one.get("of"), one.get("status")) for one in mine] == [
            ("agent-status", "container", "creating"),
            ("agent-status", "container", "creating"),
            ("agent-status", "container", "running"),
            ("agent-status", "run", "queued"),
            ("agent-status", "run", "running"),
            ("agent-status", "run", "running"),
            ("agent-output", None, None),
            ("agent-output", None, None),
            ("agent-status", "run", "completed"),
        ]
        assert {one["run_id"] for one in mine} == {None, run}
        assert mine[6]["event"]["payload"]["textDelta"] == "word 0 "
    assert {one["team_id"] for one in heard} == {tenant}
    assert [one["id"] for one in heard] == sorted({one["id"] for one in heard})


async def test_a_team_resumes_behind_the_last_message_it_had(gateway: Running, story: Story, tenant: str) -> None:
    session, run = str(uuid4()), str(uuid4())
    scope = story.run(session, run)
    await story.tell(scope, *requested("w"), *worked(session), ToolCall(call_id="t", tool_name="sh", input={}))
    async with team_socket(gateway, tenant, from_=0) as socket:
        first = await messages(socket, 3)
    async with team_socket(gateway, tenant, from_=first[-1]["id"] + 1) as socket:
        await story.tell(story.session(session), SandboxStopped(epoch=1, reason="idle"), source="orchestrator.sandbox")
        await story.tell(scope, *completed())
        rest = await messages(socket, 7)
    assert [one["event"]["type"] for one in (*first, *rest)] == [
        "run.requested",
        "run.dispatched",
        "run.started",
        *["ui.message.assistant.delta"] * 3,
        "ui.message.assistant.final",
        "ui.tool.call",
        "sandbox.stopped",
        "run.completed",
    ]


async def test_a_slow_listener_of_a_team_is_cut_and_may_come_back(
    start_gateway: Start, story: Story, tenant: str
) -> None:
    async with start_gateway(stream_life_seconds=0.2, stream_heartbeat_seconds=0.1) as gateway:
        async with team_socket(gateway, tenant) as socket:
            with pytest.raises(ConnectionClosed) as closed:
                await messages(socket, 1)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, "?from=" in closed.value.rcvd.reason) == (1001, True)


async def test_nobody_joins_another_team(gateway: Running, tenant: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with team_socket(gateway, str(uuid4()), tenant):
            pass
    assert refused.value.response.status_code == 404
    with pytest.raises(InvalidStatus) as nobody:
        async with connect(f"{gateway.url.replace('http', 'ws', 1)}/ws/teams/{tenant}?token=nonsense"):
            pass
    assert nobody.value.response.status_code == 401
    async with connect(f"{gateway.url.replace('http', 'ws', 1)}/ws/teams/{tenant}") as socket:
        await socket.send(json.dumps({"token": gateway.token(str(uuid4()))}))
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4404


def spawn_body(tenant: str, **changed: object) -> dict[str, object]:
    body = {"task": "Write NOTES.md", "agentType": "codex", "repositoryUrl": "psf/requests", "teamId": tenant}
    return {**body, **changed}


async def test_an_agent_is_set_to_work_on_a_repository_that_is_imported_once(
    api: httpx.AsyncClient, tenant: str, owners: Owners
) -> None:
    spawned = await asyncio.gather(*(api.post("/api/agents/spawn", json=spawn_body(tenant)) for _ in range(3)))
    assert [one.status_code for one in spawned] == [201] * 3, [one.text for one in spawned]
    made = [one.json() for one in spawned]
    assert {(one["success"], one["method"]) for one in made} == {(True, "process")}
    assert len({one["workspace_id"] for one in made}) == 1
    assert len({one["session_id"] for one in made}) == len({one["run_id"] for one in made}) == 3
    run = (await api.get(f"/api/runs/{made[0]['run_id']}")).json()
    assert (run["prompt"], run["session_id"]) == ("Write NOTES.md", made[0]["session_id"])
    later = await api.post("/api/agents/spawn", json=spawn_body(tenant, repositoryUrl="psf/requests.git"))
    assert later.json()["workspace_id"] == made[0]["workspace_id"]


async def test_the_method_is_told_once_it_is_certain(
    api: httpx.AsyncClient, gateway: Running, story: Story, tenant: str, owners: Owners
) -> None:
    owners.method, seen = "docker", set[str]()
    for certain, method, success in (
        (RunDispatched(runner_type="codex", method="process", reason="create_failed"), "process", True),
        (RunStarted(runner_id="r", attempt=1), "docker", True),
        (RunError(reason="sandbox_failed", message="no room"), "docker", False),
    ):
        key = {"Idempotency-Key": str(uuid4())}
        asking = asyncio.create_task(api.post("/api/agents/spawn", json=spawn_body(tenant), headers=key))
        async with team_socket(gateway, tenant, from_=0) as socket:
            while True:
                (message,) = await messages(socket, 1)
                if message["event"]["type"] == "run.dispatched" and message["run_id"] not in seen:
                    break
        seen.add(message["run_id"])
        assert not asking.done()
        await story.tell(story.run(message["session_id"], message["run_id"]), certain)
        answer = (await asking).json()
        assert (answer["method"], answer["success"]) == (method, success)
        again = await api.post("/api/agents/spawn", json=spawn_body(tenant), headers=key)
        assert again.json() == answer


async def test_a_spawn_that_cannot_be_says_why(api: httpx.AsyncClient, tenant: str, owners: Owners) -> None:
    other = await api.post("/api/agents/spawn", json=spawn_body(str(uuid4())))
    assert (other.status_code, other.json()["type"]) == (404, "team-not-found")
    lost = await api.post("/api/agents/spawn", json=spawn_body(tenant, repositoryUrl="https://nowhere.example/x.git"))
    assert (lost.status_code, lost.json()["type"]) == (422, "workspace-import-failed")
    for wrong in ({"task": " "}, {"agentType": "nobody"}, {"teamId": "x"}, {"surprise": 1}):
        assert (await api.post("/api/agents/spawn", json=spawn_body(tenant, **wrong))).status_code == 422


async def test_a_run_that_nobody_hands_out_in_time_has_no_method_yet(
    start_gateway: Start, story: Story, tenant: str, owners: Owners
) -> None:
    owners.method = "docker"
    async with start_gateway(spawn_wait_seconds=0.2) as gateway, gateway.client(tenant) as api:
        answer = await api.post("/api/agents/spawn", json=spawn_body(tenant))
        assert answer.status_code == 201, answer.text
        assert answer.json()["method"] == "docker"


def test_one_repository_is_recognised_however_its_address_ends() -> None:
    assert {spellings_of(one)[0] for one in ("a/b", "a/b/", "a/b.git", " a/b.git/ ")} == {"a/b"}
    assert WorkspaceImported.TYPE in {one.TYPE for one in imported()}
