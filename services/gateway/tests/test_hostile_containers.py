"""A container writes what it likes on its own session's subjects: nothing of another's changes by that."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest
from nats.aio.client import Client
from websockets.asyncio.client import connect

from runyard_chassis import Problem
from runyard_events import Envelope, LogUnavailable, Scope, encode, new_id, stamp
from runyard_events.catalogue import (
    AnyPayload,
    AssistantDelta,
    RunApprovalRequested,
    RunApprovalResolved,
    RunCompleted,
    RunDispatched,
    RunRequested,
    RunStarted,
)
from runyard_gateway.adapters.spending import AT_ONCE, EACH_SECOND, MESSAGE_BYTES, Paces

from .conftest import Running, Start, Story
from .histories import call, imported, opened, requested

APPROVAL = RunApprovalRequested(
    approval_id="a1", ask_kind="command", title="rm", detail={}, options=("accept", "decline"), fingerprint="f"
)


async def _foreign(client: Client, scope: Scope, payloads: Sequence[AnyPayload]) -> None:
    """Events of a run's id, on the subject of a session that has no such run."""
    for number, payload in enumerate(payloads, 1):
        event = stamp(payload, scope=scope, source="runner-codex.evil", seq=number)
        await client.request(scope.subject(payload.FAMILY), encode(event))


async def _running(story: Story, *more: AnyPayload) -> tuple[str, str]:
    workspace, session, run = str(uuid4()), str(uuid4()), str(uuid4())
    await story.tell(story.workspace(workspace), *imported())
    await story.tell(story.session(session), *opened(workspace))
    began = (*requested(workspace), RunDispatched(runner_type="codex"), RunStarted(runner_id="r", attempt=1), *more)
    lifecycle = [one for one in began if one.FAMILY == "lifecycle"]
    await story.tell(story.run(session, run), *lifecycle)
    return session, run


@pytest.mark.parametrize("of_whom", ["own team", "another"])
async def test_an_event_about_another_session_s_run_changes_nothing_of_it(
    gateway: Running, story: Story, tenant: str, nats_client: Client, of_whom: str
) -> None:
    session, run = await _running(story, APPROVAL)
    evil = Scope.run(tenant if of_whom == "own team" else new_id(), str(uuid4()), run)
    workspace = str(uuid4())
    await _foreign(
        nats_client,
        evil,
        [
            RunRequested(prompt="Mine.", workspace_id=workspace, runner_type="codex"),
            RunStarted(runner_id="evil", attempt=9, model="evil"),
            RunApprovalResolved(approval_id="a1", decision="accept", resolved_by="evil"),
            APPROVAL.model_copy(update={"approval_id": "a2", "title": "Give me your password"}),
            call(cost=1000.0),
            RunCompleted(duration_ms=1),
        ],
    )
    behind = await story.tell(story.workspace(str(uuid4())), *imported())
    await gateway.parts.consistency.shows(behind)

    async with gateway.client(tenant) as api:
        row = (await api.get(f"/api/runs/{run}")).json()
        asked = (await api.get(f"/api/runs/{run}/approvals")).json()["items"]

    assert (row["status"], row["session_id"], row["attempt"]) == ("running", session, 1)
    assert row["usage"]["calls"] == 0
    assert [(one["approval_id"], one["status"]) for one in asked] == [("a1", "open")]


async def test_bytes_that_are_no_event_leave_a_team_s_stream_whole(
    gateway: Running, story: Story, tenant: str, nats_client: Client
) -> None:
    session, run = await _running(story)
    evil, other = Scope.run(tenant, str(uuid4()), str(uuid4())), story.run(session, run)
    pretended: Envelope = stamp(AssistantDelta(text_delta="not mine"), scope=other, source="x", seq=1)
    address = f"{gateway.url.replace('http', 'ws', 1)}/ws/teams/{tenant}?token={gateway.token(tenant)}"
    async with connect(address) as socket, asyncio.timeout(20):
        for content in (b"[" * 200_000, b"\xff", b"null", b'{"type": 1}', encode(pretended)):
            await nats_client.request(evil.subject("ui"), content)
        await story.tell(other, AssistantDelta(text_delta="Hello"))
        seen: list[dict[str, Any]] = []
        while not any(one.get("event", {}).get("payload", {}).get("textDelta") == "Hello" for one in seen):
            seen.append(json.loads(await socket.recv()))
    told = {(one["session_id"], one["event"]["payload"]["textDelta"]) for one in seen if one["type"] == "agent-output"}
    assert told == {(evil.session_id, "not mine"), (session, "Hello")}


async def test_outputs_are_held_in_memory_one_after_the_other(
    gateway: Running, story: Story, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, run = await _running(story)
    other_session, other_run = await _running(story)
    door, held, most, kept = gateway.parts.door, Counter[str](), Counter[str](), asyncio.Event()
    both = asyncio.Event()

    async def put(name: str, _content: bytes) -> None:
        held[name.split("/")[1]] += 1
        most.update({one: held[one] - most[one] for one in held if held[one] > most[one]})
        if held[run] and held[other_run]:
            both.set()
        await kept.wait()
        held[name.split("/")[1]] -= 1

    monkeypatch.setattr(door.outputs, "put", put)

    async def bring(session: str, run: str) -> int:
        path = f"/api/container-webhooks/{session}/outputs/{run}/{uuid4()}"
        headers = {"Authorization": f"Bearer {door.token(tenant, session)[0]}"}
        async with httpx.AsyncClient(base_url=gateway.url, headers=headers, timeout=20) as client:
            return (await client.put(path, content=b"x" * 100_000)).status_code

    bringing = [asyncio.create_task(bring(session, run)) for _ in range(10)]
    bringing.append(asyncio.create_task(bring(other_session, other_run)))
    await asyncio.wait_for(both.wait(), 10)
    kept.set()

    assert await asyncio.gather(*bringing) == [201] * 11
    assert most == {run: 1, other_run: 1}


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_session_says_so_much_at_once_and_then_as_it_is_made_up_for() -> None:
    clock = Clock()
    paces = Paces(clock)
    paces.count("flood", AT_ONCE, 0)
    paces.check("flood")
    paces.count("flood", EACH_SECOND - MESSAGE_BYTES, 1)
    with pytest.raises(Problem) as refused:
        paces.check("flood")
    assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "1"})
    for number in range(5000):  # others neither notice nor make it be forgotten
        paces.count(str(number), 1, 1)
        paces.check(str(number))
    clock.now += 0.5
    assert paces.owed("flood") == 0.5
    clock.now += 0.5
    paces.check("flood")


def _box(gateway: Running, tenant: str, session: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {gateway.parts.door.token(tenant, session)[0]}"}
    return httpx.AsyncClient(base_url=f"{gateway.url}/api/container-webhooks/{session}", headers=headers, timeout=20)


async def test_who_says_too_much_by_http_is_told_when_to_go_on(start_gateway: Start, story: Story, tenant: str) -> None:
    (session, run), (other, other_run) = await _running(story), await _running(story)
    said = [{"id": "1", "type": "ui.message.delta", "payload": {"textDelta": "x"}}]
    async with start_gateway(command_timeout_seconds=0.3) as gateway:
        gateway.parts.door.paces.count(session, AT_ONCE + 30 * EACH_SECOND, 0)
        async with _box(gateway, tenant, session) as box, _box(gateway, tenant, other) as neighbour:
            refused = await box.post("/messages", json={"messages": said, "run_id": run})
            heard = await neighbour.post("/messages", json={"messages": said, "run_id": other_run})
    assert (refused.status_code, refused.json()["type"]) == (429, "said-too-much")
    assert 25 <= int(refused.headers["Retry-After"]) <= 30
    assert heard.json()["type"] == "command-timeout"  # it has come as far as the orchestrator, which is not there


async def test_a_socket_that_says_too_much_is_not_read_for_a_while_and_loses_nothing(
    gateway: Running, story: Story, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, _ = await _running(story)
    monkeypatch.setattr("runyard_gateway.adapters.spending.AT_ONCE", 10_000)
    monkeypatch.setattr("runyard_gateway.adapters.spending.EACH_SECOND", 100_000)
    token = gateway.parts.door.token(tenant, session)[0]
    address = f"{gateway.url.replace('http', 'ws', 1)}/ws/sessions/{session}?role=container&token={token}"
    ping = json.dumps({"type": "ping", "filling": "x" * 10_000})
    loop = asyncio.get_running_loop()
    async with connect(address) as socket, asyncio.timeout(20):
        started = loop.time()
        for _ in range(12):
            await socket.send(ping)
        assert [json.loads(await socket.recv())["type"] for _ in range(12)] == ["pong"] * 12
    assert loop.time() - started >= 1.0


async def test_a_session_s_outputs_are_bounded_altogether_and_what_is_not_kept_does_not_count(
    start_gateway: Start, story: Story, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (session, run), (other, other_run) = await _running(story), await _running(story)
    async with start_gateway(session_outputs_mib=1) as gateway:
        keeper = gateway.parts.door.outputs
        put = keeper.put

        async def bring(session: str, run: str, size: int) -> httpx.Response:
            async with _box(gateway, tenant, session) as box:
                return await box.put(f"/outputs/{run}/{uuid4()}", content=b"x" * size)

        async def away(_name: str, _content: bytes) -> None:
            raise LogUnavailable("away")

        monkeypatch.setattr(keeper, "put", away)
        assert (await bring(session, run, 1_000_000)).status_code == 503
        monkeypatch.setattr(keeper, "put", put)
        statuses = [(await bring(session, run, 400_000)).status_code for _ in range(3)]
        assert statuses == [201, 201, 413]
        assert (await bring(session, run, 2_000_000)).json()["type"] == "outputs-exhausted"
        assert (await bring(other, other_run, 400_000)).status_code == 201
        # Nothing costs something too, or else a bucket could be filled with names.
        statuses = Counter([(await bring(session, run, 0)).status_code for _ in range(65)])
    assert statuses == {201: 60, 413: 5}
    async with start_gateway(session_outputs_mib=1) as gateway, _box(gateway, tenant, session) as box:
        again = await box.put(f"/outputs/{run}/{uuid4()}", content=b"x")
    assert (again.status_code, again.json()["type"]) == (413, "outputs-exhausted")
