"""What the API shows of a log that others have written."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import httpx

from runyard_events.catalogue import RunRequested
from runyard_events.log import EventLog
from runyard_events.subjects import run_everything

from .conftest import Running, Start, Story
from .histories import call, checkpoint, completed, imported, opened, requested, worked


async def test_a_told_story_is_read_back_on_every_route(api: httpx.AsyncClient, gateway: Running, story: Story) -> None:
    ws, session, run = (str(uuid4()) for _ in range(3))
    await story.tell(story.workspace(ws), *imported(), source="workspace")
    await story.tell(story.session(session), *opened(ws))
    await story.tell(story.run(session, run), *requested(ws))
    await story.tell(story.run(session, run), *worked(session), *completed(), source="runner-codex.1")
    await story.tell(story.run(session, run), call(), call(), source="llm-gateway.1")
    end = await story.tell(story.run(session, run), checkpoint(), source="workspace")

    answer = await api.get(f"/api/runs/{run}", params={"min_seq": end})
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert shown["status"] == "completed"
    assert shown["usage"]["input_tokens"] == 200
    assert shown["cost_usd"] == 0.025
    assert shown["diff"] == {"commit": "beef", "files_changed": 2, "insertions": 7, "deletions": 1}
    assert shown["queue_position"] is None

    messages = (await api.get(f"/api/sessions/{session}/messages")).json()["items"]
    assert [(one["role"], one["text"]) for one in messages] == [
        ("user", "List the files"),
        ("assistant", "word word word "),
    ]
    assert (await api.get(f"/api/workspaces/{ws}")).json()["local_path"] == "/workspaces/w/repo"
    assert (await api.get(f"/api/sessions/{session}")).json()["repo_path"] == "/workspaces/w/s"
    sessions = (await api.get(f"/api/workspaces/{ws}/sessions")).json()["items"]
    assert [one["session_id"] for one in sessions] == [session]
    dashboard = (await api.get("/api/stats/dashboard")).json()
    assert (dashboard["workspaces_count"], dashboard["sessions_count"], dashboard["runs_total"]) == (1, 1, 1)
    assert [one["type"] for one in dashboard["recent_activity"]] == ["run", "session", "workspace"]
    stream = await api.get(f"/api/runs/{run}/events")
    assert stream.content.startswith(b": connected\n\n")
    assert stream.content.count(b"\ndata: ") == 11
    assert stream.headers["cache-control"] == "no-cache, no-transform"
    assert stream.headers["x-accel-buffering"] == "no"


async def test_messages_are_told_run_after_run_though_a_prompt_waited(
    api: httpx.AsyncClient, gateway: Running, story: Story
) -> None:
    ws, session, first, second = (str(uuid4()) for _ in range(4))
    await story.tell(story.session(session), *opened(ws))
    await story.tell(story.run(session, first), *requested(ws, "one"))
    await story.tell(story.run(session, second), *requested(ws, "two"))
    await story.tell(story.run(session, first), *worked(session), *completed(), source="runner-codex.1")
    end = await story.tell(story.run(session, second), *worked(session), *completed(), source="runner-codex.1")

    told: list[tuple[str, str]] = []
    cursor: dict[str, Any] = {"min_seq": end}
    for _ in range(4):
        page = (await api.get(f"/api/sessions/{session}/messages", params={"limit": 1, **cursor})).json()
        told += [(one["run_id"], one["role"]) for one in page["items"]]
        cursor = {"cursor": page["next_cursor"]}

    assert told == [(first, "user"), (first, "assistant"), (second, "user"), (second, "assistant")]
    assert cursor == {"cursor": None}


async def test_the_archive_has_every_event_as_it_was_appended(
    api: httpx.AsyncClient, gateway: Running, story: Story, event_log: EventLog
) -> None:
    session, run = str(uuid4()), str(uuid4())
    await story.tell(story.session(session), *opened("w"))
    await story.tell(story.run(session, run), *requested("w", "with \x00 and ünï"))
    seq = await story.tell(story.run(session, run), *worked(session), *completed(), source="runner-codex.1")
    await gateway.parts.consistency.shows_all(seq)
    log = [(one.stream_seq, one.data) async for one in event_log.replay(run_everything(story.tenant, session, run))]
    found: list[tuple[int, Any]] = []
    cursor: int | None = None
    while True:
        query = {"limit": 4} | ({"cursor": cursor} if cursor is not None else {})
        page = (await api.get(f"/api/runs/{run}/archive", params=query)).json()
        found += [(one["id"], one["event"]) for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == [(at, json.loads(data)) for at, data in log]


async def test_pages_hold_everything_once(api: httpx.AsyncClient, gateway: Running, story: Story) -> None:
    session = str(uuid4())
    await story.tell(story.session(session), *opened("w"))
    made = [str(uuid4()) for _ in range(7)]
    seq = 0
    for run in made:
        seq = await story.tell(story.run(session, run), RunRequested(prompt="p", workspace_id="w", runner_type="codex"))
    await gateway.parts.consistency.shows_all(seq)
    found: list[dict[str, Any]] = []
    cursor: int | None = None
    while True:
        query = {"limit": 3, "status": "queued"} | ({"cursor": cursor} if cursor is not None else {})
        page = (await api.get("/api/runs", params=query)).json()
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert [one["run_id"] for one in found] == made[::-1]
    assert [one["queue_position"] for one in found] == [6, 5, 4, 3, 2, 1, 0]


async def test_a_sequence_that_the_log_does_not_have_is_refused(api: httpx.AsyncClient) -> None:
    answer = await api.get("/api/runs", params={"min_seq": 10**9})
    assert (answer.status_code, answer.json()["type"]) == (422, "unknown-sequence")


async def test_services_are_asked_at_once_and_none_is_waited_for(start_gateway: Start, tenant: str) -> None:
    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        deaf = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        urls = {"workspace_url": deaf, "orchestrator_url": deaf, "llm_gateway_url": "http://127.0.0.1:1"}
        async with start_gateway(**urls) as running, running.client(tenant) as api:
            began = asyncio.get_running_loop().time()
            found = {one["service"]: one for one in (await api.get("/api/health/services")).json()["services"]}
            assert asyncio.get_running_loop().time() - began < 4
    assert found["workspace"] == {"service": "workspace", "status": "timeout", "latency_ms": None}
    assert found["orchestrator"]["status"] == "timeout"
    assert found["llm-gateway"]["status"] == "down"
