"""A container writes what it likes on its own session's subjects: nothing of another's changes by that."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

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
from .histories import imported, opened, requested

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
            RunCompleted(duration_ms=1),
        ],
    )
    behind = await story.tell(story.workspace(str(uuid4())), *imported())
    await gateway.parts.consistency.shows(behind)

    async with gateway.client(tenant) as api:
        row = (await api.get(f"/api/runs/{run}")).json()
        asked = (await api.get(f"/api/runs/{run}/approvals")).json()["items"]

    assert (row["status"], row["session_id"], row["attempt"]) == ("running", session, 1)
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
