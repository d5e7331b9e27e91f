"""What a program in a container can do with its session's token at NATS beside its runner's work: nothing.

Each attack is tried by a client of its own making on a server as `runyard up` starts it; afterwards the streams
and consumers are looked at with the eyes of a user who may see everything.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from runyard_events import CommandBus, Conflict, EventLog, LogUnavailable, Writer, command
from runyard_events.catalogue import AssistantDelta, RunCompleted
from runyard_events.commands import StartInSandbox
from runyard_events.session_account import read_subject
from runyard_events.session_log import SessionLog
from runyard_events.topology import sandbox_durable
from runyard_stack.testing import SecuredNats

from .doors import Box, Street, asked, settled, street

FORGED = b'{"forged": true}'


@dataclass
class Scene:
    """Two sessions of one tenant, one of another; the first one's container is the attacker."""

    town: Street
    own: Box
    neighbour: Box
    stranger: Box
    attacker: Client

    @property
    def victims(self) -> tuple[Box, Box]:
        return self.neighbour, self.stranger

    async def own_event(self) -> None:
        await asked(self.attacker, self.own.scope.subject("raw"), FORGED)


@pytest_asyncio.fixture
async def scene(secured_nats: SecuredNats) -> AsyncGenerator[Scene]:
    async with street(secured_nats) as town:
        own = await town.box()
        neighbour, stranger = await town.box(tenant=own.tenant), await town.box()
        made = Scene(town, own, neighbour, stranger, await town.break_in(own))
        for victim in made.victims:
            await Writer(town.log, scope=victim.scope, source="runner").append(AssistantDelta(text_delta="SECRET"))
            order = StartInSandbox(
                session_id=victim.session,
                run_id=victim.run,
                workspace_id="w",
                runner_type="codex",
                prompt="SECRET",
                thread_id="t",
                working_directory="/w",
            )
            await CommandBus(town.root).send(command(order, tenant_id=victim.tenant))
            await asked(town.root, f"$KV.leases.{victim.session}.{victim.run}", b"SECRET")
        yield made


async def test_it_cannot_append_to_another_session(scene: Scene) -> None:
    before = await scene.town.stored()
    for victim in scene.victims:
        for family in ("lifecycle", "ui", "raw", "llm", "effect"):
            assert await asked(scene.attacker, victim.scope.subject(family), FORGED) is None
        assert await asked(scene.attacker, f"ev.{victim.tenant}.session.{victim.session}.lifecycle", FORGED) is None
        log = EventLog(scene.attacker, patience_seconds=0, attempt_seconds=0.3)
        writer = Writer(log, scope=victim.scope, source="runner-codex.1")
        with pytest.raises(LogUnavailable):
            await writer.append(RunCompleted(duration_ms=1))
    assert await scene.town.stored() == before


async def test_it_cannot_append_to_what_is_not_a_run_s(scene: Scene) -> None:
    own, before = scene.own, await scene.town.stored()
    session = f"ev.{own.tenant}.session.{own.session}"
    for subject in (
        f"{session}.lifecycle",
        f"{session}.sandbox",
        f"{session}.effect",
        own.scope.subject("llm"),
        own.scope.subject("effect"),
        f"ev.{own.tenant}.team.{own.tenant}.lifecycle",
        f"ev.{own.tenant}.workspace.w.lifecycle",
        "cmd.orchestrator.create-session",
        "cmd.runner.codex.start",
        f"cmd.sandbox.{own.session}.start",
        "dlq.x",
        "$O.outputs.C.x",
        "$KV.leases.x",
    ):
        assert await asked(scene.attacker, subject, FORGED) is None, subject
    assert await scene.town.stored() == before


def to_commands(_: Scene) -> str:
    return "cmd.orchestrator.delete-session"


def to_runners(_: Scene) -> str:
    return "cmd.runner.codex.start"


def to_a_neighbour(scene: Scene) -> str:
    return scene.neighbour.scope.subject("lifecycle")


def to_another_tenant(scene: Scene) -> str:
    return f"ev.{scene.stranger.tenant}.session.{scene.stranger.session}.lifecycle"


def to_a_lease(scene: Scene) -> str:
    return f"$KV.leases.{scene.neighbour.session}.{scene.neighbour.run}"


def to_the_dead_letters(_: Scene) -> str:
    return "dlq.orchestrator"


def to_an_object(_: Scene) -> str:
    return "$O.outputs.C.forged"


def to_the_api(_: Scene) -> str:
    return "$JS.API.STREAM.DELETE.EVENTS"


REPLIES = [
    to_commands,
    to_runners,
    to_a_neighbour,
    to_another_tenant,
    to_a_lease,
    to_the_dead_letters,
    to_an_object,
    to_the_api,
]


@pytest.mark.parametrize("target", REPLIES, ids=lambda one: one.__name__)
async def test_an_answer_sent_elsewhere_arrives_nowhere(scene: Scene, target: Callable[[Scene], str]) -> None:
    await scene.own_event()
    own, town = scene.own, scene.town
    await CommandBus(town.root).send(
        command(
            StartInSandbox(
                session_id=own.session,
                run_id=own.run,
                workspace_id="w",
                runner_type="codex",
                prompt="mine",
                thread_id="t",
                working_directory="/w",
            ),
            tenant_id=own.tenant,
        )
    )
    requests = [
        (f"$JS.API.DIRECT.GET.EVENTS.{own.scope.subject('raw')}", b""),
        (own.scope.subject("raw"), FORGED),
        (own.scope.subject("lifecycle"), FORGED),
        (f"$JS.API.CONSUMER.MSG.NEXT.COMMANDS.{sandbox_durable(own.session)}", b"5"),
        (
            f"session.read.{own.tenant}.{own.session}",
            json.dumps({"run": own.run, "family": "raw", "after": 0}).encode(),
        ),
        (f"$KV.leases.{own.session}.{own.run}", FORGED),
        (f"$JS.API.DIRECT.GET.KV_leases.$KV.leases.{own.session}.{own.run}", b""),
    ]
    before = await town.stored()
    heard: list[str] = []

    async def hear(message: Msg) -> None:
        heard.append(message.subject)

    await town.root.subscribe(target(scene), cb=hear)
    await town.root.flush()
    for subject, body in requests:
        await scene.attacker.publish(subject, body, reply=target(scene))
    await settled(scene.attacker)

    after = await town.stored()
    mine = f"ev.{own.tenant}.session.{own.session}.run.{own.run}."
    strange = {
        (stream, subject)
        for stream, subjects in after.items()
        for subject, count in subjects.items()
        if count != before[stream].get(subject) and not subject.startswith(mine) and own.session not in subject
    }
    assert strange == set()
    assert heard == []


async def test_an_answer_does_not_reach_another_s_inbox(scene: Scene) -> None:
    heard: list[bytes] = []

    async def hear(message: Msg) -> None:
        heard.append(message.data)

    await scene.town.orchestrator.subscribe("_INBOX_orchestrator.known", cb=hear)
    await scene.town.orchestrator.flush()
    for inbox in ("_INBOX_orchestrator.known", "_INBOX_gateway.known", f"{scene.neighbour.inbox}.known"):
        assert await asked(scene.attacker, inbox, FORGED) is None
        await scene.attacker.publish(scene.own.scope.subject("raw"), FORGED, reply=inbox)
    await settled(scene.attacker)
    assert heard == []


async def test_it_hears_nothing_but_answers_to_itself_and_its_own_lifecycle(scene: Scene) -> None:
    heard: list[str] = []

    async def hear(message: Msg) -> None:
        heard.append(message.subject)

    neighbour = scene.neighbour
    for subject in (
        ">",
        "*.>",
        "ev.>",
        "live.>",
        f"live.{neighbour.scope.subject('lifecycle')}",
        f"live.ev.{scene.own.tenant}.session.*.run.*.lifecycle",
        neighbour.scope.subject("ui"),
        scene.own.scope.subject("ui"),
        "cmd.>",
        "$KV.>",
        "_INBOX.>",
        "_INBOX_orchestrator.>",
        f"{neighbour.inbox}.>",
        "$JS.>",
        "$SYS.>",
        "_R_.>",
        "session.read.>",
        "$JS.EVENT.ADVISORY.>",
    ):
        await scene.attacker.subscribe(subject, cb=hear)
        await scene.attacker.subscribe(subject, queue="orchestrator", cb=hear)
    await scene.attacker.flush()
    other = await scene.town.enter(neighbour)
    writer = Writer(SessionLog(other), scope=neighbour.scope, source="runner-codex.1")
    await writer.append(AssistantDelta(text_delta="SECRET"))
    await Writer(scene.town.log, scope=neighbour.scope, source="orchestrator", next_seq=2).append(
        RunCompleted(duration_ms=1)
    )
    await settled(scene.attacker)
    assert heard == []


async def test_it_cannot_read_another_session(scene: Scene) -> None:
    attacker, own = scene.attacker, scene.own
    own_subject = own.scope.subject("ui")
    bodies: list[dict[str, Any]] = [
        {"seq": 1},
        {"seq": 1, "batch": 100},
        {"seq": 1, "next_by_subj": "ev.>"},
        {"seq": 1, "next_by_subj": "ev.>", "batch": 100},
        {"last_by_subj": scene.neighbour.scope.subject("ui")},
        {"multi_last": ["ev.>"], "batch": 100},
    ]
    for body in bodies:
        for stream in ("EVENTS", "COMMANDS", "KV_leases", "OBJ_outputs", "DLQ"):
            for subject in (f"$JS.API.DIRECT.GET.{stream}", f"$JS.API.STREAM.MSG.GET.{stream}"):
                assert await asked_at_once(attacker, subject, body) is None, (subject, body)
        assert b"SECRET" not in (await asked_at_once(attacker, f"$JS.API.DIRECT.GET.EVENTS.{own_subject}", body) or b"")
    for victim in scene.victims:
        for family in ("lifecycle", "ui", "raw"):
            subject = victim.scope.subject(family)
            assert await asked_at_once(attacker, f"$JS.API.DIRECT.GET.EVENTS.{subject}", b"") is None
        lease = f"$KV.leases.{victim.session}.{victim.run}"
        assert await asked_at_once(attacker, f"$JS.API.DIRECT.GET.KV_leases.{lease}", b"") is None


async def test_it_cannot_ask_the_orchestrator_for_another_session_s_events(scene: Scene) -> None:
    own, victim = scene.own, scene.neighbour
    wanted = {"run": victim.run, "family": "ui", "after": 0}
    assert await asked_at_once(scene.attacker, f"session.read.{victim.tenant}.{victim.session}", wanted) is None
    assert await asked_at_once(scene.attacker, f"session.read.{own.tenant}.*", wanted) is None
    bodies: list[Any] = [
        wanted,
        {"run": "*", "family": "ui", "after": 0},
        {"run": ">", "family": "ui", "after": 0},
        {"run": f"x.ui.{victim.run}", "family": "ui", "after": 0},
        {"run": own.run, "family": "llm", "after": 0},
        {"run": own.run, "family": "*", "after": 0},
        {"run": own.run, "family": ">", "after": -1},
        {"run": [own.run], "family": ">", "after": 0},
        {"run": own.run, "family": ">", "after": 1e30},
        [],
    ]
    for body in bodies:
        answer = await asked(scene.attacker, f"session.read.{own.tenant}.{own.session}", body)
        assert answer is not None
        assert b"SECRET" not in answer, body
        assert "error" in (found := json.loads(answer)) or found["events"] == [], body


async def test_it_can_make_change_and_remove_no_consumer_and_no_stream(scene: Scene) -> None:
    own, town = scene.own, scene.town
    before, stored = await town.consumers(), await town.stored()
    streams = await asked(town.root, "$JS.API.STREAM.LIST", b"{}")
    for subject, body in (*about_consumers(scene), *about_streams()):
        await scene.attacker.publish(subject, json.dumps(body).encode(), reply=f"{own.inbox}.x")
    for subject in ("$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST", "$JS.API.ACCOUNT.PURGE.RUNYARD"):
        assert await asked_at_once(scene.attacker, subject, b"{}") is None
    await settled(scene.attacker)

    assert await town.consumers() == before
    assert await town.stored() == stored
    assert configurations(await asked(town.root, "$JS.API.STREAM.LIST", b"{}")) == configurations(streams)
    assert scene.town.errors[own.session], "the server has told it so"


async def test_it_cannot_take_or_end_another_s_command(scene: Scene) -> None:
    own, attacker = scene.own, scene.attacker
    before = await scene.town.stored()
    for victim in scene.victims:
        durable = sandbox_durable(victim.session)
        pull = await attacker.jetstream().pull_subscribe_bind(durable=durable, stream="COMMANDS")
        with pytest.raises((NatsError, TimeoutError)):
            await pull.fetch(1, timeout=0.4)
    for name in (sandbox_durable(own.session), sandbox_durable(scene.neighbour.session), "orchestrator"):
        for stream_seq in range(1, 12):
            for consumer_seq in (1, 2, 3):
                for answer in (b"+TERM", b"+ACK", b"+NXT", b"-NAK"):
                    subject = f"$JS.ACK.COMMANDS.{name}.1.{stream_seq}.{consumer_seq}.1700000000000000000.0"
                    await attacker.publish(subject, answer, reply=f"{own.inbox}.x")
    await settled(attacker)
    assert await scene.town.stored() == before


async def test_it_cannot_touch_the_leases_of_others(scene: Scene) -> None:
    own, attacker = scene.own, scene.attacker
    before = await scene.town.subjects("KV_leases")
    for victim in scene.victims:
        key = f"$KV.leases.{victim.session}.{victim.run}"
        assert await asked(attacker, key, FORGED) is None
        assert await asked(attacker, key, b"", {"KV-Operation": "PURGE", "Nats-Rollup": "sub"}) is None
    for rollup in ("all", "sub"):
        answer = await asked(attacker, f"$KV.leases.{own.session}.{own.run}", FORGED, {"Nats-Rollup": rollup})
        assert answer is not None
        assert "error" in json.loads(answer), "a rollup of all would empty the bucket"
    assert await scene.town.subjects("KV_leases") == before


async def test_no_header_turns_its_events_into_something_else(scene: Scene) -> None:
    own, attacker = scene.own, scene.attacker
    before = await scene.town.stored()
    subject = own.scope.subject("raw")
    for headers in (
        {"Nats-Rollup": "all"},
        {"Nats-Rollup": "sub"},
        {"Nats-TTL": "1"},
        {"Nats-Incr": "1"},
        {"Nats-Schedule": "@every 1s", "Nats-Schedule-Target": "cmd.orchestrator.x"},
        {"Nats-Expected-Stream": "COMMANDS"},
    ):
        answer = await asked(attacker, subject, FORGED, headers)
        assert answer is not None
        assert "error" in json.loads(answer), headers
    assert await scene.town.stored() == before
    batch = {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "1"}
    await attacker.publish(subject, FORGED, headers=batch)
    last = {**batch, "Nats-Batch-Sequence": "2", "Nats-Batch-Commit": "1"}
    assert await asked(attacker, scene.neighbour.scope.subject("raw"), FORGED, last) is None
    assert await scene.town.stored() == before


async def asked_at_once(client: Client, subject: str, body: Any) -> bytes | None:
    """As `asked`, less patient: where nothing is let through nothing comes back."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        async with asyncio.timeout(0.08):
            answer = await client.request(subject, content, timeout=0.08)
    except (NatsError, TimeoutError):
        return None
    return None if (answer.headers or {}).get("Status") else answer.data


def configurations(answer: bytes | None) -> Any:
    assert answer is not None
    return [one["config"] for one in json.loads(answer)["streams"]]


def about_consumers(scene: Scene) -> Iterator[tuple[str, Any]]:
    """Requests that would make, change, empty or remove consumers, of its own and of others."""
    own = scene.own
    everything = f"ev.{own.tenant}.session.{own.session}.run.*.ui"
    mine, another = sandbox_durable(own.session), sandbox_durable(scene.neighbour.session)
    filters: list[dict[str, Any]] = [
        {"filter_subject": everything},
        {"filter_subject": ">"},
        {"filter_subjects": ["ev.>", "cmd.>"]},
        {"filter_subject": everything, "deliver_subject": "cmd.orchestrator.pushed"},
        {"filter_subject": everything, "deliver_subject": "_INBOX_gateway.pushed"},
    ]
    for name, stream in product(("mine", mine, another, "orchestrator-process"), ("EVENTS", "COMMANDS")):
        create = f"$JS.API.CONSUMER.CREATE.{stream}"
        older = f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.{name}"
        for one in filters:
            config = {"name": name, "durable_name": name, "ack_policy": "explicit", **one}
            for subject in (create, f"{create}.{name}", f"{create}.{name}.{everything}", older):
                yield subject, {"stream_name": stream, "config": config}
        for verb in ("DELETE", "PAUSE", "RESET", "UNPIN", "LEADER.STEPDOWN", "INFO", "MSG.NEXT"):
            if (verb, stream, name) != ("MSG.NEXT", "COMMANDS", mine):
                yield f"$JS.API.CONSUMER.{verb}.{stream}.{name}", {}


def about_streams() -> Iterator[tuple[str, Any]]:
    """Requests that would make, change, copy, empty or remove streams."""
    mirror = {"name": "MIRROR", "mirror": {"name": "EVENTS"}, "storage": "memory"}
    verbs = ("CREATE", "UPDATE", "PURGE", "DELETE", "INFO", "MSG.DELETE", "SNAPSHOT", "RESTORE", "LEADER.STEPDOWN")
    for stream, verb in product(("EVENTS", "COMMANDS", "KV_leases", "OBJ_outputs", "DLQ", "MIRROR"), verbs):
        source = {"name": stream, "sources": [{"name": "EVENTS"}], "republish": {"src": ">", "dest": "live.>"}}
        for body in (mirror, source, {"seq": 1}):
            yield f"$JS.API.STREAM.{verb}.{stream}", body


async def test_asking_without_end_keeps_no_other_session_waiting(scene: Scene) -> None:
    def question(box: Box) -> bytes:
        return json.dumps({"run": box.run, "family": ">", "after": 0}).encode()

    guest = await scene.town.enter(scene.stranger)
    for _ in range(20_000):
        await scene.attacker.publish(
            read_subject(scene.own.tenant, scene.own.session), question(scene.own), reply=f"{scene.own.inbox}.x"
        )
    await scene.attacker.flush(30)

    subject = read_subject(scene.stranger.tenant, scene.stranger.session)
    answer = await guest.request(subject, question(scene.stranger), timeout=10)

    assert "events" in json.loads(answer.data)
    assert await scene.town.break_in(scene.neighbour)


async def test_unfinished_batches_keep_nobody_from_writing(scene: Scene) -> None:
    """A stream holds fifty of them at a time; who leaves more behind would have the installation stand still."""
    victim, town = scene.stranger, scene.town
    for number in range(200):
        headers = {"Nats-Batch-Id": f"unfinished-{number}", "Nats-Batch-Sequence": "1"}
        await scene.attacker.publish(scene.own.scope.subject("raw"), FORGED, headers=headers)
    await scene.attacker.flush()
    log = EventLog(town.root)
    stands = await log.last(victim.scope.subject("lifecycle"))
    assert stands is not None
    writer = Writer(log, scope=victim.scope, source="orchestrator", next_seq=2)

    ended = await writer.append_all(
        [AssistantDelta(text_delta="The end."), RunCompleted(duration_ms=1)], expect={"lifecycle": stands.stream_seq}
    )

    last = await log.last(victim.scope.subject("lifecycle"))
    assert last is not None
    assert (last.stream_seq, last.event.type) == (ended, "run.completed")
    with pytest.raises(Conflict):
        await writer.append_all(
            [RunCompleted(duration_ms=2), AssistantDelta(text_delta="Once more.")],
            expect={"lifecycle": stands.stream_seq},
        )
