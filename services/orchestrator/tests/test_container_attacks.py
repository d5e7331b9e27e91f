"""What a program in a container can do with its session's token at NATS beside its runner's work: nothing.

Each attack is tried by a client of its own making on a server as `runyard up` starts it; afterwards the streams
and consumers are looked at with the eyes of a user who may see everything.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from nats.aio.msg import Msg

from runyard_events import EventLog, LogUnavailable, Writer
from runyard_events.catalogue import AssistantDelta, RunCompleted
from runyard_events.session_account import read_subject
from runyard_events.session_log import SessionLog
from runyard_events.topology import sandbox_durable

from .doors import Box, asked, settled
from .scenes import FORGED, Scene, asked_at_once, scene

__all__ = ["scene"]


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
    await town.order(own, "mine")
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
