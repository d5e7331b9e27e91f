"""The server agrees with the declarations, and each service's user can do its own work and nothing else."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from runyard_events import (
    Append,
    CommandBus,
    EventError,
    EventLog,
    Leases,
    LogUnavailable,
    Reply,
    Scope,
    Writer,
    command,
    connect,
    decode_command,
    ensure_topology,
    new_id,
    permissions_for,
)
from runyard_events.catalogue import AssistantDelta, CheckpointFailed, RunStarted
from runyard_events.commands import CancelRun
from runyard_events.permissions import SERVICES
from runyard_events.topology import MAX_CONSUMERS, consumers, streams
from runyard_stack.embedded.nats import NatsServer, NatsUser
from runyard_stack.embedded.ports import free_port


async def test_declaring_twice_changes_nothing(nats_url: str, nats_client: Client) -> None:
    js = JetStreamContext(nats_client)
    before = [await js.stream_info(name) for name in streams()]
    await ensure_topology(nats_client)
    after = [await js.stream_info(name) for name in streams()]

    assert [one.config for one in before] == [one.config for one in after]


async def test_a_changed_declaration_reaches_an_existing_consumer(nats_client: Client) -> None:
    js = JetStreamContext(nats_client)
    durable = consumers()["COMMANDS"][0]
    changed = {**durable, "ack_wait": 77_000_000_000}
    request = {"stream_name": "COMMANDS", "config": changed, "action": ""}
    subject = f"$JS.API.CONSUMER.CREATE.COMMANDS.{durable['durable_name']}.{durable['filter_subject']}"
    await nats_client.request(subject, json.dumps(request).encode())

    await ensure_topology(nats_client)

    info = await js.consumer_info("COMMANDS", durable["durable_name"])
    assert info.config.ack_wait == durable["ack_wait"] / 1e9


async def test_an_installation_of_before_gets_what_has_been_declared_since(nats_client: Client) -> None:
    js = JetStreamContext(nats_client)
    before = {"name": "EVENTS", **streams()["EVENTS"], "max_consumers": -1}
    await nats_client.request("$JS.API.STREAM.UPDATE.EVENTS", json.dumps(before).encode())
    durable = next(one for one in consumers()["COMMANDS"] if one["durable_name"] == "runner-acp")
    fewer = {**durable, "filter_subjects": durable["filter_subjects"][:1]}
    request = {"stream_name": "COMMANDS", "config": fewer, "action": ""}
    await nats_client.request("$JS.API.CONSUMER.CREATE.COMMANDS.runner-acp", json.dumps(request).encode())
    assert (await js.stream_info("EVENTS")).config.max_consumers == -1

    await ensure_topology(nats_client)

    assert (await js.stream_info("EVENTS")).config.max_consumers == MAX_CONSUMERS
    filters = (await js.consumer_info("COMMANDS", "runner-acp")).config.filter_subjects
    assert filters == durable["filter_subjects"]


async def test_more_than_a_thousand_read_at_once(nats_client: Client, event_log: EventLog, tenant: str) -> None:
    scope = Scope.run(tenant, new_id(), new_id())
    await Writer(event_log, scope=scope, source="test").append(RunStarted(runner_id="r", attempt=1))
    readers = [event_log.reader(scope.subject("lifecycle"), from_seq=1) for _ in range(1_200)]
    for reader in readers:
        await reader.open()

    assert [reader.pending for reader in readers] == [1] * len(readers)

    for reader in readers:
        await reader.close()


async def test_a_command_is_answered_through_its_inbox(nats_client: Client, tenant: str) -> None:
    bus = CommandBus(nats_client)
    js = JetStreamContext(nats_client)
    pull = await js.pull_subscribe_bind("orchestrator", stream="COMMANDS")

    async def serve() -> None:
        [message] = await pull.fetch(1, timeout=5)
        one = decode_command(message.data)
        await message.ack()
        await bus.reply(one, Reply(ok=True, result={"runId": one.payload.run_id}, seq=7))

    task = asyncio.create_task(serve())
    reply = await bus.request(command(CancelRun(session_id="s", run_id="r"), tenant_id=tenant))
    await task

    assert reply == Reply(ok=True, result={"runId": "r"}, seq=7)


async def test_a_lease_has_one_holder_until_it_is_released(nats_client: Client) -> None:
    leases = Leases(await JetStreamContext(nats_client).key_value("leases"))
    lease = await leases.acquire("run", "first")
    assert lease is not None
    assert await leases.acquire("run", "second") is None
    renewed = await leases.renew(lease)
    assert renewed is not None
    assert await leases.renew(lease) is None, "an old revision is fenced"
    assert await leases.holder("run") == "first"

    await leases.release(renewed)

    assert await leases.holder("run") is None
    assert await leases.acquire("run", "second") is not None


@pytest.fixture
def guarded_server(server_folder: Path) -> Iterator[NatsServer]:
    users = [NatsUser("admin", "admin"), *(NatsUser(name, name, permissions_for(name)) for name in SERVICES)]
    server = NatsServer(server_folder / f"guarded-{new_id()}", free_port(), durable=False, users=users)
    server.start()
    yield server
    server.stop()


@pytest_asyncio.fixture
async def as_service(guarded_server: NatsServer) -> AsyncIterator[dict[str, Client]]:
    admin = await connect(guarded_server.url, service="admin", user="admin", password="admin")
    await ensure_topology(admin)
    clients = {name: await connect(guarded_server.url, service=name, user=name, password=name) for name in SERVICES}
    yield clients
    for client in (*clients.values(), admin):
        await client.close()


def run_scope() -> Scope:
    return Scope.run(new_id(), new_id(), new_id())


async def test_a_service_appends_and_reads_what_is_its_own(as_service: dict[str, Client]) -> None:
    log = EventLog(as_service["runner-codex"], patience_seconds=0, attempt_seconds=0.5)
    writer = Writer(log, scope=run_scope(), source="runner-codex.1")
    await writer.append_all(
        [AssistantDelta(text_delta="x"), RunStarted(runner_id="r", attempt=1)], expect={"lifecycle": 0}
    )

    events = [one async for one in log.replay(writer.scope.subject("lifecycle"))]

    assert [one.event.type for one in events] == ["run.started"]


@pytest.mark.parametrize(
    ("service", "payload"),
    [
        ("llm-gateway", RunStarted(runner_id="r", attempt=1)),
        ("workspace", RunStarted(runner_id="r", attempt=1)),
        ("runner-codex", CheckpointFailed(reason="x", message="x")),
        ("gateway", AssistantDelta(text_delta="x")),
    ],
)
async def test_a_service_cannot_append_what_another_owns(
    as_service: dict[str, Client], service: str, payload: AssistantDelta
) -> None:
    log = EventLog(as_service[service], patience_seconds=0, attempt_seconds=0.5)
    writer = Writer(log, scope=run_scope(), source="intruder")
    append = writer.place(writer.stamp(payload))

    with pytest.raises((LogUnavailable, EventError)):
        async with asyncio.timeout(8):
            await log.append(Append(append.subject, append.event))

    gateway = EventLog(as_service["gateway"])
    assert [one async for one in gateway.replay(append.subject)] == []


async def test_a_service_cannot_read_beyond_its_subjects(as_service: dict[str, Client]) -> None:
    log = EventLog(as_service["llm-gateway"], patience_seconds=0, attempt_seconds=0.5)
    reader = log.reader("ev.*.session.*.run.*.ui", from_seq=1)
    reader._create_timeout = 0.5

    with pytest.raises(LogUnavailable):
        await reader.open()


async def test_a_service_cannot_listen_to_events_or_to_the_answers_of_others(
    as_service: dict[str, Client],
) -> None:
    spy = as_service["runner-codex"]
    heard: list[bytes] = []

    async def listen(message: Msg) -> None:
        heard.append(message.data)

    for subject in ("ev.>", "_INBOX_gateway.>", "cmd.>", "$JS.API.>"):
        await spy.subscribe(subject, cb=listen)
    await spy.flush()
    owner = EventLog(as_service["orchestrator"])
    await Writer(owner, scope=run_scope(), source="orchestrator").append(RunStarted(runner_id="r", attempt=1))
    await as_service["orchestrator"].publish("_INBOX_gateway.x", b"for the gateway")
    await as_service["orchestrator"].flush()
    await spy.flush()

    assert heard == []
