"""What a container says by HTTP becomes events: once, in order, redacted, and only of its own run."""

import asyncio
from typing import Any

import pytest
from pydantic import SecretStr

from runyard_events import Reply, Scope, Writer, new_id
from runyard_events.catalogue import Notice, SandboxRequested
from runyard_events.commands import AnswerApproval, CancelRun, RecordMessages
from runyard_events.redact import fingerprint
from runyard_orchestrator.settings import Settings

from .conftest import World

CANARY = "canary-secret-0123456789"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(
        update={"redaction_salt": SecretStr("salt"), "redaction_fingerprints": fingerprint(CANARY, "salt")}
    )


def said(kind: str, payload: dict[str, Any] | None = None, identity: str | None = None) -> dict[str, Any]:
    return {"id": identity or new_id(), "type": kind, "payload": payload or {}}


def notice(text: str, identity: str | None = None) -> dict[str, Any]:
    return said("ui.notice", {"level": "info", "message": text}, identity)


async def outside(world: World) -> tuple[str, str]:
    session = await world.session(runner_type="external")
    return session, await world.prompt(session)


async def record(world: World, session: str, *messages: dict[str, Any], epoch: int = 1, run: str = "") -> Reply:
    return await world.ask(RecordMessages(session_id=session, run_id=run, epoch=epoch, messages=messages))


def problem(reply: Reply) -> tuple[int, str] | None:
    return None if reply.problem is None else (reply.problem.status, reply.problem.type)


async def events(world: World, session: str, run: str) -> list[Any]:
    subject = f"ev.{world.tenant}.session.{session}.run.{run}.>"
    return [stored.event async for stored in world.log.replay(subject)]


async def test_a_run_is_told_from_start_to_end_and_the_next_one_begins(world: World) -> None:
    session, run = await outside(world)
    following = await world.prompt(session)
    reply = await record(world, session, said("run.started"), notice("one"), notice(f"a {CANARY} b"), run=run)
    assert reply.ok, reply.problem
    assert reply.result == {"accepted": 3, "run_id": run}
    assert (await record(world, session, said("run.completed", {"finalText": "done"}))).ok
    own = [one for one in await events(world, session, run) if one.source == "external.1"]
    assert [one.type for one in own] == [
        "ui.run.started",
        "run.started",
        "ui.notice",
        "ui.notice",
        "ui.run.completed",
        "run.completed",
    ]
    assert [one.seq for one in own] == [1, 2, 3, 4, 5, 6]
    assert {one.provider for one in own} == {"external"}
    assert CANARY not in own[3].payload.message
    await world.seen(session, "run.dispatched", run_id=following)
    assert (await record(world, session, said("run.started"))).result["run_id"] == following


async def test_what_is_said_twice_stands_once_whoever_writes_meanwhile(world: World) -> None:
    session, run = await outside(world)
    await record(world, session, said("run.started", identity="start"))
    other = Writer(world.log, scope=Scope.run(world.tenant, session, run), source="another")
    many = [notice(str(number), f"n{number}") for number in range(100)]
    replies = await asyncio.gather(
        *(record(world, session, *many[start : start + 10]) for start in range(0, 100, 10)),
        *(record(world, session, *many[start : start + 10]) for start in range(0, 100, 10)),
        *(other.append(Notice(level="info", message="x")) for _ in range(1)),
    )
    accepted = sum(one.result["accepted"] for one in replies if isinstance(one, Reply))
    assert accepted == 100
    own = [one for one in await events(world, session, run) if one.source == "external.1"]
    assert sorted(one.seq for one in own) == list(range(1, 103))
    assert [one.seq for one in own] == sorted(one.seq for one in own)


async def test_a_program_that_starts_again_begins_another_attempt(world: World) -> None:
    session, run = await outside(world)
    await record(world, session, said("run.started"))
    assert (await record(world, session, said("run.started"), notice("again"))).ok
    found = await events(world, session, run)
    resumed = next(one for one in found if one.type == "run.resumed")
    assert (resumed.payload.attempt, resumed.source) == (2, "external.2")
    assert [one.seq for one in found if one.source == "external.2"] == [1, 2, 3]


async def test_an_approval_is_asked_for_and_answered(world: World) -> None:
    session, run = await outside(world)
    ask = {"approvalId": "a1", "askKind": "command", "title": "rm", "detail": {"command": "rm"}, "options": ["accept"]}
    assert (await record(world, session, said("run.started"), said("ui.approval.requested", ask))).ok
    await world.seen(session, "run.approval_requested", run_id=run)
    answer = AnswerApproval(session_id=session, run_id=run, approval_id="a1", decision="accept")
    assert (await world.ask(answer)).ok
    await world.seen(session, "run.approval_resolved", run_id=run)


async def test_what_is_not_a_container_s_to_say_is_refused_whole(world: World) -> None:
    session, run = await outside(world)
    assert problem(await record(world, session, notice("early"))) == (409, "run-not-started")
    await record(world, session, said("run.started"))
    before = await events(world, session, run)
    wrong_ones: list[dict[str, Any]] = [
        said("ui.run.completed"),
        said("run.dispatched", {"runnerType": "x"}),
        said("run.approval_resolved", {"approvalId": "x", "decision": "accept"}),
        said("raw.received", {}),
        said("plan.step", {"text": "x", "status": "pending"}),
        said("ui.tool.call", {"nonsense": 1}),
        said("run.error", {"reason": "time_limit", "message": "x"}),
        said("run.completed", {"finalText": 7}),
        {"id": "x", "type": "ui.notice"},
        {"id": "", "type": "ui.notice", "payload": {}},
        {"id": "x" * 200, "type": "ui.notice", "payload": {}},
        {"id": 5, "type": "ui.notice", "payload": {}},
        {"id": "x", "type": ["ui.notice"], "payload": {}},
        {"id": "x", "type": "ui.notice", "payload": []},
        {"id": "x", "type": "ui.notice", "payload": {}, "runId": run},
    ]
    for wrong in wrong_ones:
        reply = await record(world, session, notice("good"), wrong)
        assert reply.problem is not None
        assert reply.problem.status == 422, wrong
        assert reply.problem.extra["message_number"] == 1
    assert await events(world, session, run) == before


async def test_a_run_of_another_kind_session_or_tenant_is_not_told_about(world: World) -> None:
    session, run = await outside(world)
    ours = await world.session()
    process = await world.prompt(ours)
    await world.seen(ours, "run.dispatched", run_id=process)
    asked = said("run.started")
    assert problem(await record(world, ours, asked, run=process)) == (409, "run-not-external")
    assert problem(await record(world, session, asked, run=process)) == (404, "run-not-found")
    assert problem(await record(world, session, asked, run="*")) == (404, "run-not-found")
    assert problem(await record(world, session, asked, epoch=2)) == (401, "session-token-refused")
    wanted = RecordMessages(session_id=session, run_id=run, epoch=1, messages=(asked,))
    assert problem(await world.ask(wanted, tenant=new_id())) == (401, "session-token-refused")
    sandbox = Writer(world.log, scope=Scope.session(world.tenant, session), source="orchestrator.sandbox")
    await sandbox.append(SandboxRequested(epoch=2, method="docker", purpose="run"))
    assert problem(await record(world, session, asked)) == (401, "session-token-refused"), "it was replaced"


async def test_a_run_that_has_ended_stays_as_it_ended(world: World) -> None:
    session, run = await outside(world)
    assert (await world.ask(CancelRun(session_id=session, run_id=run))).ok
    assert problem(await record(world, session, said("run.started"), run=run)) == (409, "run-ended")
    end = said("run.error", {"message": "no"}, "end")
    second = await world.prompt(session)
    await world.seen(session, "run.dispatched", run_id=second)
    assert (await record(world, session, end, run=second)).result["accepted"] == 1
    assert (await record(world, session, end, run=second)).result["accepted"] == 0
    assert problem(await record(world, session, notice("late"), run=second)) == (409, "run-ended")
