"""A container writes what it likes on its own session's subjects: nothing of another's changes by that."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import httpx
import pytest
from nats.aio.client import Client
from websockets.asyncio.client import connect

from runyard_events import Envelope, Scope, encode, new_id, stamp
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

from .conftest import Running, Story
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
