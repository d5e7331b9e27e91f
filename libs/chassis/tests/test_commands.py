"""The command server on a real NATS server."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from faststream.nats.message import NatsMessage
from nats.aio.client import Client
from nats.js import JetStreamContext
from pydantic import SecretStr

from runyard_chassis import CommandServer, Conflict, Problem, ServiceSettings, raise_for_problem
from runyard_events.commands import CancelRun, Command, CommandBus, Reply, RequestRun, SteerRun, command
from runyard_events.connection import connect
from runyard_events.topology import COMMANDS, ensure_topology
from runyard_stack.embedded.nats import NatsServer
from runyard_stack.embedded.ports import free_port
from runyard_stack.testing import SecuredNats

SERVICE = "orchestrator"


@pytest.fixture
def settings(nats_url: str) -> ServiceSettings:
    return ServiceSettings(nats_url=nats_url, environment="test")


@pytest.fixture
def bus(nats_client: Client) -> CommandBus:
    return CommandBus(nats_client)


@pytest.fixture
def server(settings: ServiceSettings) -> CommandServer:
    return CommandServer(settings, SERVICE)


def cancel(tenant: str = "t1", run: str = "r1") -> Command[CancelRun]:
    return command(CancelRun(session_id="s1", run_id=run), tenant_id=tenant, actor="u1")


@asynccontextmanager
async def acknowledged(client: Client) -> AsyncGenerator[None]:
    """Ends when the one command of the block has left the queue: acknowledged or terminated."""
    acknowledgements = await client.subscribe(f"$JS.ACK.{COMMANDS}.{SERVICE}.>")
    await client.flush()
    yield
    while (await acknowledgements.next_msg(timeout=5)).data not in {b"", b"+TERM"}:  # an empty one is +ACK
        pass
    await acknowledgements.unsubscribe()
    assert (await JetStreamContext(client).stream_info(COMMANDS)).state.messages == 0


async def dead_letter(jetstream: JetStreamContext) -> dict[str, Any]:
    """The dead letter of the service, once there is one."""
    subscription = await jetstream.subscribe(f"dlq.{SERVICE}", ordered_consumer=True)
    message = await subscription.next_msg(timeout=10)
    await subscription.unsubscribe()
    return json.loads(message.data)


async def test_a_handler_gets_the_decoded_command_and_its_reply_reaches_the_sender(
    server: CommandServer, bus: CommandBus, nats_client: Client, jetstream: JetStreamContext
) -> None:
    seen: list[Command[CancelRun]] = []

    async def handle(one: Command[CancelRun]) -> Reply:
        seen.append(one)
        return Reply(ok=True, seq=7, result={"run": one.payload.run_id})

    server.on(CancelRun)(handle)
    async with acknowledged(nats_client), server:
        reply = await bus.request(cancel(tenant="t9"))
        assert reply == Reply(ok=True, seq=7, result={"run": "r1"})
        assert seen[0].tenant_id == "t9"
        assert seen[0].payload == CancelRun(session_id="s1", run_id="r1")
        assert await server.check()


async def test_commands_sent_while_nobody_serves_are_carried_out_later(server: CommandServer, bus: CommandBus) -> None:
    done: asyncio.Queue[str] = asyncio.Queue()

    async def handle(one: Command[CancelRun]) -> None:
        await done.put(one.payload.run_id)

    server.on(CancelRun)(handle)
    await bus.send(cancel(run="early"))
    async with server:
        assert await asyncio.wait_for(done.get(), 5) == "early"


async def test_a_refused_command_is_answered_with_its_problem_and_not_repeated(
    server: CommandServer, bus: CommandBus, nats_client: Client, jetstream: JetStreamContext
) -> None:
    calls = 0

    async def handle(_: Command[CancelRun]) -> Reply:
        nonlocal calls
        calls += 1
        raise Conflict("It has ended.", type="run-ended")

    server.on(CancelRun)(handle)
    async with acknowledged(nats_client), server:
        reply = await bus.request(cancel())
    assert calls == 1
    with pytest.raises(Problem) as caught:
        raise_for_problem(reply)
    assert (caught.value.status, caught.value.type, caught.value.detail) == (409, "run-ended", "It has ended.")


async def test_a_handler_that_fails_once_is_called_again(server: CommandServer, bus: CommandBus) -> None:
    calls = 0

    async def handle(_: Command[CancelRun]) -> Reply:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ConnectionError("the database has gone")
        return Reply(ok=True)

    server.on(CancelRun)(handle)
    async with server:
        assert (await bus.request(cancel())).ok
    assert calls == 2


async def test_the_last_failure_is_answered_with_a_500_and_goes_to_the_dead_letters(
    server: CommandServer,
    bus: CommandBus,
    nats_client: Client,
    jetstream: JetStreamContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runyard_chassis.commands.RETRY_DELAYS", (0.01,))
    calls = 0

    async def handle(_: Command[CancelRun]) -> Reply:
        nonlocal calls
        calls += 1
        raise RuntimeError("secret sk-ant-abcdefghijklmnopqrstuvwxyz")

    server.on(CancelRun)(handle)
    async with acknowledged(nats_client), server:
        reply = await bus.request(cancel(run="doomed"))
        assert reply.problem is not None
        assert (reply.problem.status, reply.problem.type) == (500, "internal-error")
        assert "secret" not in reply.model_dump_json()
        letter = await dead_letter(jetstream)
    assert calls == 5
    assert letter["reason"] == "failed 5 times"
    assert json.loads(letter["content"])["payload"]["runId"] == "doomed"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"not json", "not a command"),
        (b'{"type": "no.such"}', "not a command"),
        (b'{"type": "orchestrator.cancel-run", "tenantId": "t", "payload": {}}', "not a command"),
    ],
)
async def test_bytes_that_are_no_command_go_to_the_dead_letters_with_a_reason(
    server: CommandServer, nats_client: Client, jetstream: JetStreamContext, body: bytes, reason: str
) -> None:
    async with acknowledged(nats_client), server:
        await jetstream.publish("cmd.orchestrator.cancel-run", body)
        letter = await dead_letter(jetstream)
    assert reason in letter["reason"]
    assert letter["content"] == body.decode()


async def test_a_command_without_a_handler_goes_to_the_dead_letters(
    server: CommandServer, bus: CommandBus, nats_client: Client, jetstream: JetStreamContext
) -> None:
    async with acknowledged(nats_client), server:
        await bus.send(cancel())
        letter = await dead_letter(jetstream)
    assert letter["reason"] == "orchestrator does not handle orchestrator.cancel-run"


async def test_a_handler_longer_than_the_ack_wait_is_called_once(
    server: CommandServer, bus: CommandBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = asyncio.Event()
    calls = 0

    async def handle(_: Command[CancelRun]) -> Reply:
        nonlocal calls
        calls += 1
        await asyncio.wait_for(told.wait(), 10)
        return Reply(ok=True)

    server.on(CancelRun)(handle)
    async with server:
        server._ack_wait = 0.03  # pyright: ignore[reportPrivateUsage]
        original = NatsMessage.in_progress

        async def in_progress(self: NatsMessage) -> None:
            await original(self)
            told.set()

        monkeypatch.setattr(NatsMessage, "in_progress", in_progress)
        assert (await bus.request(cancel())).ok
    assert calls == 1


async def test_no_more_handlers_run_at_once_than_allowed(settings: ServiceSettings, bus: CommandBus) -> None:
    server = CommandServer(settings, SERVICE, concurrency=3)
    running = peak = 0
    full = asyncio.Event()

    async def handle(_: Command[CancelRun]) -> Reply:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        if running == 3:
            full.set()
        await full.wait()
        await asyncio.sleep(0)
        running -= 1
        return Reply(ok=True)

    server.on(CancelRun)(handle)
    async with server:
        replies = await asyncio.gather(*(bus.request(cancel(run=f"r{n}")) for n in range(12)))
    assert all(reply.ok for reply in replies)
    assert peak == 3


async def test_a_long_handler_does_not_hold_up_the_others(server: CommandServer, bus: CommandBus) -> None:
    release = asyncio.Event()

    async def slow(_: Command[SteerRun]) -> Reply:
        await release.wait()
        return Reply(ok=True)

    async def fast(_: Command[CancelRun]) -> Reply:
        return Reply(ok=True)

    server.on(SteerRun)(slow)
    server.on(CancelRun)(fast)
    async with server:
        steering = asyncio.create_task(
            bus.request(command(SteerRun(session_id="s", run_id="r", text="x"), tenant_id="t"))
        )
        assert (await bus.request(cancel(), timeout=5)).ok
        release.set()
        assert (await steering).ok


async def test_stopping_waits_for_the_handler_that_runs(server: CommandServer, bus: CommandBus) -> None:
    began, finish = asyncio.Event(), asyncio.Event()

    async def handle(_: Command[CancelRun]) -> Reply:
        began.set()
        await finish.wait()
        return Reply(ok=True, seq=3)

    server.on(CancelRun)(handle)
    await server.start()
    asking = asyncio.create_task(bus.request(cancel()))
    await began.wait()
    stopping = asyncio.create_task(server.stop())
    await asyncio.sleep(0)
    finish.set()
    assert (await asking).seq == 3
    await stopping


async def test_what_is_not_done_in_time_at_a_stop_is_taken_up_by_the_next_process(
    settings: ServiceSettings, bus: CommandBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runyard_chassis.commands.GRACEFUL_SECONDS", 0.05)
    began = asyncio.Event()

    async def never(_: Command[CancelRun]) -> Reply:
        began.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def quick(_: Command[CancelRun]) -> Reply:
        return Reply(ok=True, result={"by": "second"})

    first, second = CommandServer(settings, SERVICE), CommandServer(settings, SERVICE)
    first.on(CancelRun)(never)
    second.on(CancelRun)(quick)
    await first.start()
    asking = asyncio.create_task(bus.request(cancel(), timeout=10))
    await began.wait()
    await first.stop()
    async with second, asyncio.timeout(20):
        assert (await asking).result == {"by": "second"}


async def test_a_restart_of_the_nats_server_is_survived(tmp_path: Path) -> None:
    nats = NatsServer(tmp_path, free_port(), durable=False)
    await nats.start_async()
    client = await connect(nats.url, service="gateway")
    await ensure_topology(client)
    server = CommandServer(ServiceSettings(nats_url=nats.url), SERVICE)

    async def handle(_: Command[CancelRun]) -> Reply:
        return Reply(ok=True)

    server.on(CancelRun)(handle)
    try:
        async with server:
            assert (await CommandBus(client).request(cancel(), timeout=10)).ok
            await asyncio.to_thread(nats.stop)
            await nats.start_async()
            assert (await CommandBus(client).request(cancel(), timeout=20)).ok
    finally:
        await client.close()
        await asyncio.to_thread(nats.stop)


async def test_serving_does_not_change_the_declared_consumer(
    server: CommandServer, jetstream: JetStreamContext
) -> None:
    before = (await jetstream.consumer_info(COMMANDS, SERVICE)).config
    async with server:
        pass
    assert (await jetstream.consumer_info(COMMANDS, SERVICE)).config == before


async def test_a_missing_consumer_is_an_error_and_is_not_made(
    server: CommandServer, jetstream: JetStreamContext
) -> None:
    await jetstream.delete_consumer(COMMANDS, SERVICE)
    with pytest.raises(RuntimeError, match="ensure_topology"):
        await server.start()
    assert SERVICE not in [one.name for one in await jetstream.consumers_info(COMMANDS)]


def test_a_command_type_has_one_handler(server: CommandServer) -> None:
    async def handle(_: Command[RequestRun]) -> None:
        return None

    server.on(RequestRun)(handle)
    with pytest.raises(ValueError, match="has a handler already"):
        server.on(RequestRun)(handle)


async def test_the_permissions_of_its_own_nats_user_are_enough(secured_nats: SecuredNats) -> None:
    server = CommandServer(
        ServiceSettings(
            nats_url=secured_nats.url,
            nats_user=SERVICE,
            nats_password=SecretStr(secured_nats.passwords[SERVICE]),
        ),
        SERVICE,
    )

    async def handle(_: Command[CancelRun]) -> Reply:
        return Reply(ok=True)

    server.on(CancelRun)(handle)
    client = await connect(
        secured_nats.url, service="gateway", user="gateway", password=secured_nats.passwords["gateway"]
    )
    async with server:
        reply = await CommandBus(client).request(cancel(), timeout=5)
    await client.close()
    assert reply.ok
