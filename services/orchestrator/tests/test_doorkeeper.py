"""Who is let in at NATS, for how long, and what a container's runner can do there."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta

import nats
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.kv import KeyValue

from runyard_chassis.tokens import API_AUDIENCE, Tokens
from runyard_events import EventLog, Leases, LogUnavailable, Scope, Writer, connect, new_id
from runyard_events.catalogue import AssistantDelta, RunCancelRequested, RunStarted, SandboxRequested, SessionDeleted
from runyard_events.commands import decode_command
from runyard_events.session_log import SessionLog
from runyard_events.topology import sandbox_durable
from runyard_orchestrator.adapters.doorkeeper import Doorkeeper
from runyard_orchestrator.adapters.user_jwt import NotOurs, read_knock
from runyard_stack.testing import SecuredNats

from .doors import KEY, TOKENS, Street, street, token


@pytest_asyncio.fixture
async def town(secured_nats: SecuredNats) -> AsyncGenerator[Street]:
    async with street(secured_nats) as made:
        yield made


async def refused(town: Street, **presented: str) -> bool:
    try:
        client = await nats.connect(town.nats.url, allow_reconnect=False, **presented)  # pyright: ignore[reportArgumentType]
    except NatsError:
        return True
    await client.close()
    return False


async def test_a_container_is_let_in_with_its_token_within_milliseconds(town: Street) -> None:
    boxes = [await town.box() for _ in range(20)]
    took: list[float] = []
    for box in boxes:
        began = time.perf_counter()
        client = await town.enter(box)
        took.append(time.perf_counter() - began)
        assert client.is_connected
    assert sorted(took)[10] < 0.25, f"median of {sorted(took)[10] * 1000:.1f} ms"


async def test_who_has_no_good_token_stays_outside(town: Street) -> None:
    box = await town.box(epoch=2)
    tenant, session = box.tenant, box.session
    users = Tokens(KEY, API_AUDIENCE).mint(tenant=tenant, user="ada")
    forged = Tokens("another-key-that-is-long-enough-for-hs256", "runyard-session")
    attempts = {
        "nothing": {},
        "unknown user": {"user": "nobody", "password": "x"},
        "a service's name with a wrong password": {"user": "orchestrator", "password": "x"},
        "a service's name with a session's token": {"user": "orchestrator", "password": box.token},
        "a former container's token": {"user": session, "password": token(tenant, session, 1)},
        "a coming container's token": {"user": session, "password": token(tenant, session, 3)},
        "an old token": {"user": session, "password": token(tenant, session, 2, timedelta(seconds=-60))},
        "a user's token": {"user": session, "password": users},
        "a token with another key": {
            "user": session,
            "password": forged.mint(tenant=tenant, session=session, epoch=2),
        },
        "a token of another tenant": {"user": session, "password": token(new_id(), session, 2)},
        "another session's token": {"user": session, "password": (await town.box()).token},
    }
    assert {name for name, presented in attempts.items() if not await refused(town, **presented)} == set()
    assert not await refused(town, user=session, password=box.token)


async def test_an_ended_session_and_a_replaced_container_are_not_let_in_any_more(town: Street) -> None:
    deleted, replaced = await town.box(), await town.box()
    scope = Scope.session(deleted.tenant, deleted.session)
    await Writer(town.log, scope=scope, source="orchestrator", next_seq=2).append(SessionDeleted())
    scope = Scope.session(replaced.tenant, replaced.session)
    newer = Writer(town.log, scope=scope, source="orchestrator.sandbox", next_seq=2)
    await newer.append(SandboxRequested(epoch=2, method="docker", purpose="recovery"))

    assert await refused(town, user=deleted.session, password=deleted.token)
    assert await refused(town, user=replaced.session, password=replaced.token)


async def test_a_container_that_is_shown_out_comes_in_again_by_itself(secured_nats: SecuredNats) -> None:
    async with street(secured_nats, stay_seconds=1) as town:
        box = await town.box()
        client = await town.enter(box)
        log = SessionLog(client)
        writer = Writer(log, scope=box.scope, source="runner-codex.1")
        await writer.append(AssistantDelta(text_delta="before"))
        # The client tells nobody but its log.
        while client.stats["reconnects"] == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await writer.append(AssistantDelta(text_delta="after"))
        assert [one.event.payload async for one in log.replay(box.scope.subject("ui"))] == [
            AssistantDelta(text_delta="before"),
            AssistantDelta(text_delta="after"),
        ]


async def test_without_the_orchestrator_nobody_gets_in_and_whoever_is_in_goes_on(town: Street) -> None:
    inside, outside = await town.box(), await town.box()
    client = await town.enter(inside)
    await town.orchestrator.close()

    with pytest.raises(LogUnavailable):
        await town.enter(outside, wait_seconds=1)
    writer = Writer(SessionLog(client), scope=inside.scope, source="runner-codex.1")
    await writer.append(AssistantDelta(text_delta="still here"))

    own = await connect(
        town.nats.url, service="orchestrator", user="orchestrator", password=town.nats.passwords["orchestrator"]
    )
    waiting = asyncio.create_task(town.enter(outside, wait_seconds=20))
    door = Doorkeeper(
        own,
        EventLog(own),
        tokens=TOKENS,
        seed=town.nats.issuer_seed,
        stay_seconds=60,
    )
    await door.open()
    assert (await waiting).is_connected, "a container keeps trying"
    await own.close()


async def test_a_runner_in_a_container_can_do_its_work(town: Street) -> None:
    box = await town.box()
    client = await town.enter(box)
    log = SessionLog(client)
    writer = Writer(log, scope=box.scope, source="runner-codex.1", provider="codex")
    order = await town.order(box, "p")

    pull = await client.jetstream().pull_subscribe_bind(durable=sandbox_durable(box.session), stream="COMMANDS")
    [message] = await pull.fetch(1, timeout=5)
    assert decode_command(message.data).payload == order
    await message.in_progress()
    await message.nak()
    [message] = await pull.fetch(1, timeout=5)

    leases = Leases(bucket(client))
    lease = await leases.acquire(f"{box.session}.{box.run}", "me")
    assert lease is not None
    lease = await leases.renew(lease)
    assert lease is not None
    assert await leases.holder(f"{box.session}.{box.run}") == "me"

    requested = [one.stream_seq async for one in log.replay(box.scope.subject("lifecycle"))]
    start = RunStarted(runner_id="r", attempt=1)
    await log.append_guarded(
        [writer.place(writer.stamp(start))], guard=box.scope.subject("lifecycle"), expect=requested[-1]
    )
    await writer.write([writer.stamp(AssistantDelta(text_delta=str(number))) for number in range(600)])
    texts = [one.event.payload async for one in log.replay(box.scope.subject("ui"))]
    assert texts == [AssistantDelta(text_delta=str(number)) for number in range(600)], "page after page, in order"

    await leases.release(lease)
    await message.ack_sync()
    assert await town.subjects("COMMANDS") == {}


async def test_a_follower_hears_of_what_others_append(town: Street) -> None:
    box = await town.box()
    log = SessionLog(await town.enter(box))
    orchestrator = Writer(town.log, scope=box.scope, source="orchestrator", next_seq=2)
    async with aclosing(log.follow(box.scope.subject("lifecycle"), from_seq=1)) as events:
        assert (await anext(events)).event.type == "run.requested"
        upcoming = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.1)
        began = time.perf_counter()
        await orchestrator.append(RunCancelRequested(requested_by="ada"))
        found = await asyncio.wait_for(upcoming, 20)
    assert found.event.payload == RunCancelRequested(requested_by="ada")
    assert time.perf_counter() - began < 2


async def test_only_a_server_s_own_request_is_answered(town: Street) -> None:
    with pytest.raises(NotOurs):
        read_knock(b"not.a.jwt")
    unsigned = unsigned_request()
    with pytest.raises(NotOurs):
        read_knock(unsigned)
    assert town.orchestrator.is_connected


def unsigned_request() -> bytes:
    server = "NBGTCPMU2GQMVWQLSZP6V3Y6ZZJ3V4CWBKKHEP6QKTCOVSBTBYF22ZDY"
    about = {"server_id": {"id": server}, "user_nkey": "U", "connect_opts": {}}
    claims = {"iss": server, "aud": "nats-authorization-request", "exp": time.time() + 60, "nats": about}

    def encoded(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{encoded({'alg': 'ed25519-nkey'})}.{encoded(claims)}.{'A' * 86}".encode()


def bucket(client: Client) -> KeyValue:
    return KeyValue(name="leases", stream="KV_leases", pre="$KV.leases.", js=client.jetstream(), direct=True)
