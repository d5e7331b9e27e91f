"""Containers of sessions: wishes, their status, logs and measures, and what streams tell of them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from aiohttp import web

from runyard_events.catalogue import (
    RunDispatched,
    SandboxDeleted,
    SandboxError,
    SandboxLogged,
    SandboxStopped,
)
from runyard_gateway.streaming.source import Place

from .conftest import Running, Start, Story
from .histories import completed, contained, imported, measured, opened, previewed, requested, worked
from .owners import Owners

SOURCE = "orchestrator.sandbox"


@dataclass
class FakeOrchestrator:
    """The orchestrator's own routes, as far as the gateway passes requests on to them."""

    url: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list[tuple[str, str | None]])
    may_end: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.path_qs, request.headers.get("authorization")))
        if "follow=true" in request.path_qs:
            answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await answer.prepare(request)
            await answer.write(b"data: {}\n\n")
            await self.may_end.wait()
            return answer
        return web.json_response({"lines": ["one"]})


@pytest_asyncio.fixture
async def orchestrator() -> AsyncIterator[FakeOrchestrator]:
    fake = FakeOrchestrator()
    app = web.Application()
    app.router.add_get("/{path:.*}", fake.answer)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield fake
    await runner.cleanup()


@pytest_asyncio.fixture
async def session(story: Story, gateway: Running) -> str:
    """A session that is ready and has no container yet."""
    identifier = str(uuid4())
    await gateway.parts.consistency.shows_all(await story.tell(story.session(identifier), *opened("w")))
    return identifier


async def test_a_wish_is_answered_with_what_became_of_it(api: httpx.AsyncClient, session: str, owners: Owners) -> None:
    path = f"/api/sessions/{session}/container"
    missing = await api.get(f"{path}/status")
    assert (missing.status_code, missing.json()["type"]) == (404, "container-not-found")
    refused = await api.post(f"{path}/stop")
    assert (refused.status_code, refused.json()["type"]) == (409, "sandbox-absent")
    for action, status in (
        ("create", "creating"),
        ("stop", "stopped"),
        ("start", "creating"),
        ("pause", "paused"),
    ):
        answer = await api.post(f"{path}/{action}")
        assert answer.status_code == 202, answer.text
        assert answer.json()["status"] == status
        assert int(answer.headers["x-runyard-seq"])
        assert (await api.get(f"{path}/status")).json() == answer.json()
    assert (await api.delete(path)).status_code == 204
    assert (await api.get(f"{path}/status")).json()["status"] == "deleted"
    (listed,) = (await api.get("/api/sessions")).json()["items"]
    assert listed["container_status"] == "deleted"
    unknown = await api.post(f"/api/sessions/{uuid4()}/container/create")
    assert (unknown.status_code, unknown.json()["type"]) == (404, "session-not-found")


async def test_a_container_is_shown_as_its_events_tell_it(
    api: httpx.AsyncClient, session: str, story: Story, tenant: str
) -> None:
    scope = story.session(session)
    failed = SandboxError(epoch=1, reason="out_of_memory", message="killed", exit_code=137, log_tail=("last words",))
    seq = await story.tell(scope, *contained(), failed, source=SOURCE)
    path = f"/api/sessions/{session}/container/status"
    shown = (await api.get(path, params={"min_seq": seq})).json()
    assert (
        shown["metadata"] | {"reason": "out_of_memory", "exit_code": 137, "log_tail": ["last words"]}
        == shown["metadata"]
    )
    assert (shown["id"], shown["team_id"], shown["container_type"]) == (session, tenant, "agent")
    created_at = shown["created_at"]
    seq = await story.tell(scope, *contained(2), source=SOURCE)
    shown = (await api.get(path, params={"min_seq": seq})).json()
    assert (shown["status"], shown["container_name"], shown["created_at"]) == (
        "running",
        "runyard-0a1b2c3d-2",
        created_at,
    )
    assert shown["metadata"] == {
        "session_id": session,
        "method": "docker",
        "epoch": 2,
        "image": "runyard/runner:1",
        "native_id": "c2",
        "warm": False,
        "took_ms": 210,
        "reason": "prompt",
    }
    one = (await api.get(f"/api/sessions/{session}")).json()
    assert one["container_status"] == "running"


async def test_a_run_says_where_it_was_worked_on(api: httpx.AsyncClient, session: str, story: Story) -> None:
    run = str(uuid4())
    in_docker = RunDispatched(runner_type="codex", method="docker")
    seq = await story.tell(story.run(session, run), requested("w")[0], in_docker)
    assert (await api.get(f"/api/runs/{run}", params={"min_seq": seq})).json()["method"] == "docker"
    back = RunDispatched(runner_type="codex", method="process", reason="create_failed")
    seq = await story.tell(story.run(session, run), back)
    shown = (await api.get(f"/api/runs/{run}", params={"min_seq": seq})).json()
    assert (shown["method"], shown["method_reason"]) == ("process", "create_failed")


async def test_containers_are_listed_by_page_status_and_kind(
    api: httpx.AsyncClient, gateway: Running, story: Story, tenant: str
) -> None:
    made = [str(uuid4()) for _ in range(5)]
    seq = 0
    for number, session in enumerate(made):
        end = (SandboxStopped(epoch=1, reason="idle"),) if number % 2 else ()
        seq = await story.tell(story.session(session), *contained(), *end, source=SOURCE)
    await gateway.parts.consistency.shows_all(seq)
    path = f"/api/teams/{tenant}/containers"
    first = (await api.get(path, params={"limit": 3})).json()
    rest = (await api.get(path, params={"limit": 3, "cursor": first["next_cursor"]})).json()
    assert [one["id"] for one in (*first["items"], *rest["items"])] == made[::-1]
    stopped = (await api.get(path, params={"status": "stopped"})).json()["items"]
    assert [one["id"] for one in stopped] == [made[3], made[1]]
    preview = str(uuid4())
    seq = await story.tell(story.preview(preview), *previewed("w", made[0]), source="orchestrator.preview")
    (shown,) = (await api.get(path, params={"container_type": "preview", "min_seq": seq})).json()["items"]
    assert (shown["id"], shown["status"], shown["port"]) == (preview, "running", 5173)
    assert shown["metadata"]["session_id"] == made[0]
    assert (await api.get(path, params={"status": "asleep"})).status_code == 422


async def test_logs_and_measures_are_the_orchestrators_and_the_token_goes_in_a_header(
    start_gateway: Start, orchestrator: FakeOrchestrator, story: Story, tenant: str
) -> None:
    session = str(uuid4())
    settings = {"orchestrator_url": orchestrator.url, "stream_heartbeat_seconds": 0.05}
    async with start_gateway(**settings) as gateway, gateway.client(tenant) as api:
        await story.tell(story.session(session), *opened("w"))
        path = f"/api/sessions/{session}/container"
        assert (await api.get(f"{path}/logs")).status_code == 404
        seq = await story.tell(story.session(session), *contained(), source=SOURCE)
        await gateway.parts.consistency.shows_all(seq)
        assert (await api.get(f"{path}/logs", params={"tail": 5})).json() == {"lines": ["one"]}
        assert (await api.get(f"{path}/logs", params={"tail": 0})).status_code == 422
        token = gateway.token(tenant)
        query = {"follow": "true", "token": token}
        async with (
            httpx.AsyncClient(base_url=gateway.url, trust_env=False) as browser,
            browser.stream("GET", f"{path}/stats", params=query) as streamed,
        ):
            assert streamed.headers["content-type"].startswith("text/event-stream")
            lines = streamed.aiter_lines()
            assert [await anext(lines) for _ in range(4)] == ["data: {}", "", ": heartbeat", ""]
            orchestrator.may_end.set()
            assert {line async for line in lines} <= {": heartbeat", ""}
    assert [path for path, _ in orchestrator.asked] == [
        f"/sessions/{session}/sandbox/logs?tail=5",
        f"/sessions/{session}/sandbox/stats?follow=true",
    ]
    assert {header for _, header in orchestrator.asked} == {f"Bearer {token}"} | {orchestrator.asked[0][1]}


async def test_a_preview_s_measures_are_the_orchestrators(
    start_gateway: Start, orchestrator: FakeOrchestrator, story: Story, tenant: str
) -> None:
    preview = str(uuid4())
    async with start_gateway(orchestrator_url=orchestrator.url) as gateway, gateway.client(tenant) as api:
        path = f"/api/previews/{preview}/stats"
        assert (await api.get(path)).status_code == 404
        seq = await story.tell(story.preview(preview), *previewed(str(uuid4())), source="orchestrator")
        await gateway.parts.consistency.shows_all(seq)
        orchestrator.may_end.set()
        async with api.stream("GET", path, params={"follow": "true"}) as streamed:
            assert streamed.headers["content-type"].startswith("text/event-stream")
            assert "data: {}" in [line async for line in streamed.aiter_lines()]
    assert [path for path, _ in orchestrator.asked] == [f"/previews/{preview}/stats?follow=true"]


async def test_an_orchestrator_that_is_away_is_said_to_be(start_gateway: Start, story: Story, tenant: str) -> None:
    session = str(uuid4())
    async with start_gateway(orchestrator_url="http://127.0.0.1:9") as gateway, gateway.client(tenant) as api:
        await story.tell(story.session(session), *opened("w"))
        seq = await story.tell(story.session(session), *contained(), source=SOURCE)
        await gateway.parts.consistency.shows_all(seq)
        answer = await api.get(f"/api/sessions/{session}/container/stats")
    assert (answer.status_code, answer.json()["type"]) == (503, "orchestrator-unavailable")


async def test_a_stream_has_no_telemetry_unless_it_is_asked_for(
    api: httpx.AsyncClient, gateway: Running, session: str, story: Story, tenant: str
) -> None:
    scope, run = story.session(session), str(uuid4())
    told = (*contained(), measured(), SandboxLogged(lines=("a line",)), SandboxDeleted(epoch=1, reason="user"))
    await story.tell(scope, *told, source=SOURCE)
    await story.tell(story.run(session, run), *requested("w"), *worked(session))
    end = await story.tell(story.run(session, run), *completed())
    await gateway.parts.consistency.shows_all(end)

    async def families(path: str) -> set[str]:
        found: set[str] = set()
        async with gateway.stream(path, tenant) as stream:
            while (message := await stream.event()) is not None:
                found.add(message.data.decode().split('"kind":"')[1].split('"')[0])
                if message.id == end:
                    break
        return found

    path = f"/api/sessions/{session}/events"
    assert await families(path) == {"lifecycle", "sandbox", "ui"}
    assert await families(f"{path}?telemetry=true") == {"lifecycle", "sandbox", "ui", "telemetry"}
    assert await families(f"{path}?kinds=telemetry,lifecycle") == {"lifecycle", "telemetry"}


@pytest.mark.parametrize(("wanted", "count"), [(None, 1), (frozenset({"telemetry", "lifecycle"}), 201)])
async def test_what_nobody_asked_for_fills_no_queue(
    start_gateway: Start, story: Story, wanted: frozenset[str] | None, count: int
) -> None:
    async with start_gateway(stream_queue_events=300) as gateway:
        place = Place(topic=f"ev.{story.tenant}.session.s", start=gateway.parts.hub.position + 1, families=wanted)
        with gateway.parts.hub.subscribe(place.topic, telemetry=place.has_telemetry) as queue:
            await story.tell(story.session("s"), *(measured(n) for n in range(200)), source=SOURCE)
            end = await story.tell(story.session("s"), opened("w")[0])
            assert await gateway.parts.hub.reached(end, seconds=10)
            assert len(await queue.take()) == count


async def test_a_session_that_is_not_there_has_no_container(api: httpx.AsyncClient, story: Story) -> None:
    await story.tell(story.workspace("w"), *imported(), source="workspace")
    for path in ("status", "logs", "stats"):
        answer = await api.get(f"/api/sessions/{uuid4()}/container/{path}")
        assert (answer.status_code, answer.json()["type"]) == (404, "session-not-found")
