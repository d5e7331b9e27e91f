"""SSE and WebSocket: replay, then live, from any place, to the end."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import uuid4

import pytest
import pytest_asyncio
from nats.aio.client import Client
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from runyard_events.catalogue import AssistantDelta, RawReceived, RunCancelled
from runyard_events.log import EventLog
from runyard_events.subjects import run_everything, session_everything

from .conftest import Running, Start, Story
from .histories import call, checkpoint, completed, imported, opened, requested, worked


@dataclass
class Told:
    """A session with one run that is under way."""

    session: str
    run: str
    seq: int

    @property
    def path(self) -> str:
        return f"/api/runs/{self.run}/events"


@pytest_asyncio.fixture
async def told(story: Story, gateway: Running) -> AsyncIterator[Told]:
    """A run that was begun, and that the gateway's rows know."""
    made = await begin(story)
    await gateway.parts.consistency.shows_all(made.seq)
    yield made


async def begin(story: Story) -> Told:
    ws, session, run = (str(uuid4()) for _ in range(3))
    await story.tell(story.workspace(ws), *imported(), source="workspace")
    await story.tell(story.session(session), *opened(ws))
    await story.tell(story.run(session, run), *requested(ws))
    seq = await story.tell(story.run(session, run), *worked(session), source="runner-codex.1")
    return Told(session, run, seq)


async def end(story: Story, told: Told) -> int:
    return await story.tell(story.run(told.session, told.run), *completed(), source="runner-codex.1")


async def in_log(event_log: EventLog, *subjects: str) -> list[tuple[int, bytes]]:
    return [(one.stream_seq, one.data) async for one in event_log.replay(*subjects)]


async def test_replay_joins_live_without_gap_or_repeat(
    gateway: Running, tenant: str, story: Story, told: Told, event_log: EventLog
) -> None:
    async with gateway.stream(told.path, tenant) as client:
        assert client.status == 200
        first = await client.message()
        assert first is not None
        assert first.comment == "connected"
        seen = [await client.event() for _ in range(9)]
        scope = story.run(told.session, told.run)
        await story.tell(scope, AssistantDelta(text_delta="live"), source="runner-codex.1")
        await end(story, told)
        await story.tell(scope, checkpoint(), source="workspace")
        rest = await client.events()
    found = [(one.id, one.data) for one in [*seen, *rest] if one is not None]
    log = await in_log(event_log, run_everything(tenant, told.session, told.run))
    assert found == log[:-1]
    assert json.loads(found[-1][1])["type"] == "run.completed"


async def test_a_stream_goes_on_behind_the_last_id(gateway: Running, tenant: str, story: Story, told: Told) -> None:
    await end(story, told)
    async with gateway.stream(told.path, tenant) as client:
        everything = [one.id for one in await client.events()]
    for place, last in enumerate(everything):
        async with gateway.stream(told.path, tenant, Last_Event_ID=str(last)) as client:
            assert [one.id for one in await client.events()] == everything[place + 1 :]
        async with gateway.stream(f"{told.path}?from={last}", tenant) as client:
            assert [one.id for one in await client.events()] == everything[place:]


async def test_a_client_that_has_seen_the_end_gets_what_came_after_and_the_end(
    gateway: Running, tenant: str, story: Story, told: Told
) -> None:
    last = await end(story, told)
    late = await story.tell(story.run(told.session, told.run), call(), source="llm-gateway.1")
    async with gateway.stream(told.path, tenant, Last_Event_ID=str(last)) as client:
        assert [one.id for one in await client.events()] == [late]


async def test_kinds_choose_families_and_the_stream_still_ends(
    gateway: Running, tenant: str, story: Story, told: Told
) -> None:
    await story.tell(story.run(told.session, told.run), RawReceived({"native": 1}), source="runner-codex.1")
    await end(story, told)
    async with gateway.stream(f"{told.path}?kinds=raw", tenant) as client:
        kinds = [json.loads(one.data)["kind"] for one in await client.events()]
    assert kinds == ["raw"]
    async with gateway.stream(f"{told.path}?kinds=ui,nonsense", tenant) as client:
        assert client.status == 422


async def test_a_sessions_stream_has_all_its_runs(
    gateway: Running, tenant: str, story: Story, told: Told, event_log: EventLog
) -> None:
    await end(story, told)
    second = str(uuid4())
    await story.tell(story.run(told.session, second), *requested("w"), RunCancelled())
    log = await in_log(event_log, session_everything(tenant, told.session))
    async with gateway.stream(f"/api/sessions/{told.session}/events", tenant) as client:
        seen = [await client.event() for _ in log]
        live = await story.tell(story.run(told.session, second), call(), source="llm-gateway.1")
        last = await client.event()
    assert [(one.id, one.data) for one in seen if one] == log
    assert last is not None
    assert last.id == live


async def test_an_idle_stream_has_a_heartbeat(start_gateway: Start, tenant: str, story: Story) -> None:
    async with start_gateway(stream_heartbeat_seconds=0.05) as running:
        told = await begin(story)
        await running.parts.consistency.shows_all(told.seq)
        async with running.stream(told.path, tenant) as client:
            comments: list[str] = []
            while "heartbeat" not in comments:
                message = await client.message()
                assert message is not None
                comments.append(message.comment or "event")
    assert comments[0] == "connected"


async def test_a_stream_ends_cleanly_when_its_time_is_over(start_gateway: Start, tenant: str, story: Story) -> None:
    async with start_gateway(stream_heartbeat_seconds=0.05, stream_life_seconds=0.2) as running:
        told = await begin(story)
        await running.parts.consistency.shows_all(told.seq)
        async with running.stream(told.path, tenant) as client:
            assert len(await client.events()) == 9
        assert running.parts.hub.followers == 0


async def test_a_stop_ends_open_streams_at_once(start_gateway: Start, tenant: str, story: Story) -> None:
    async with start_gateway() as running:
        told = await begin(story)
        await running.parts.consistency.shows_all(told.seq)
        async with running.stream(told.path, tenant) as client:
            for _ in range(9):
                await client.event()
            began = asyncio.get_running_loop().time()
            running.stop.set()
            assert await client.events() == []
            await running.stopped
            assert asyncio.get_running_loop().time() - began < 2


async def test_a_client_that_goes_is_forgotten(gateway: Running, tenant: str, told: Told) -> None:
    async with gateway.stream(told.path, tenant) as client:
        await client.event()
        assert gateway.parts.hub.followers == 1
    async with asyncio.timeout(20):
        await gateway.parts.hub.deserted()


async def test_a_slow_client_is_cut_and_resumes_without_loss(
    start_gateway: Start, tenant: str, story: Story, event_log: EventLog
) -> None:
    async with start_gateway(stream_queue_events=50) as running:
        told = await begin(story)
        await running.parts.consistency.shows_all(told.seq)
        seen: list[int | None] = []
        async with running.stream(told.path, tenant) as client:
            for _ in range(9):
                message = await client.event()
                assert message is not None
                seen.append(message.id)
            # More than sockets, buffers and the queue hold, while the client reads nothing.
            filler = AssistantDelta(text_delta="x" * 20_000)
            last = 0
            for _ in range(4):
                last = await story.tell(story.run(told.session, told.run), *[filler] * 200, source="runner-codex.1")
                await running.parts.hub.reached(last, seconds=5)
            seen += [one.id for one in await client.events()]
        assert seen[-1] != last
        await end(story, told)
        async with running.stream(told.path, tenant, Last_Event_ID=str(seen[-1])) as client:
            seen += [one.id for one in await client.events()]
    assert seen == [seq for seq, _ in await in_log(event_log, run_everything(tenant, told.session, told.run))]


async def test_an_id_older_than_the_log_is_told_as_a_gap(
    gateway: Running, tenant: str, story: Story, told: Told, nats_client: Client
) -> None:
    last = await end(story, told)
    await gateway.parts.consistency.shows_all(last)
    await nats_client.jetstream().purge_stream("EVENTS", seq=last)
    await gateway.parts.extent.now(reaching=last + 1)  # asked anew: what it knew was from before
    async with gateway.stream(told.path, tenant) as client:
        gap, final = await client.events()
    assert gap.event == "gap"
    assert json.loads(gap.data)["first"] == last
    assert final.id == last


@pytest.mark.parametrize("last_id", ["999999999", "not-a-number", "-1", "9" * 25])
async def test_an_id_that_no_stream_has_given_is_refused(
    gateway: Running, tenant: str, told: Told, last_id: str
) -> None:
    async with gateway.stream(told.path, tenant, Last_Event_ID=last_id) as client:
        assert client.status == 422


async def test_a_socket_gets_the_same_events_and_answers_pings(
    gateway: Running, tenant: str, story: Story, told: Told, event_log: EventLog
) -> None:
    await end(story, told)
    log = await in_log(event_log, session_everything(tenant, told.session))
    url = f"{gateway.url.replace('http', 'ws')}/ws/sessions/{told.session}"
    async with connect(f"{url}?token={gateway.token(tenant)}&role=client") as socket:
        seen = [json.loads(await socket.recv()) for _ in log]
        await socket.send('{"type":"ping"}')
        assert json.loads(await socket.recv()) == {"type": "pong"}
    assert [(one["id"], one["event"]) for one in seen] == [(seq, json.loads(data)) for seq, data in log]
    async with connect(f"{url}?from={log[-1][0]}") as socket:
        await socket.send(json.dumps({"token": gateway.token(tenant)}))
        assert json.loads(await socket.recv())["id"] == log[-1][0]


async def test_a_socket_of_another_tenant_or_without_a_good_token_is_refused(
    gateway: Running, tenant: str, told: Told
) -> None:
    url = f"{gateway.url.replace('http', 'ws')}/ws/sessions/{told.session}"
    for query, status in ((f"?token={gateway.token(str(uuid4()))}", 404), ("?token=nonsense", 401)):
        with pytest.raises(InvalidStatus) as refused:
            await connect(url + query)
        assert refused.value.response.status_code == status
    for token, code in ((gateway.token(str(uuid4())), 4404), ("nonsense", 4401)):
        async with connect(url) as socket:
            await socket.send(json.dumps({"token": token}))
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert socket.close_code == code


async def test_a_stop_closes_sockets(start_gateway: Start, tenant: str, story: Story) -> None:
    async with start_gateway() as running:
        told = await begin(story)
        await running.parts.consistency.shows_all(told.seq)
        url = f"{running.url.replace('http', 'ws')}/ws/sessions/{told.session}?token={running.token(tenant)}"
        async with connect(url) as socket:
            await socket.recv()
            running.stop.set()
            with contextlib.suppress(ConnectionClosed):
                async for _ in socket:
                    pass
            await running.stopped
            # "Going away" from the stream itself, or "service restart" when the server was faster.
            assert socket.close_code in {1001, 1012}
