"""What a program in a container can do with its session's token to streams, consumers and buckets: nothing."""

import json
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from nats.errors import Error as NatsError

from runyard_events import Conflict, EventLog, Writer
from runyard_events.catalogue import AssistantDelta, RunCompleted
from runyard_events.topology import sandbox_durable

from .doors import asked, settled
from .scenes import FORGED, Scene, asked_at_once, scene

__all__ = ["scene"]


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
