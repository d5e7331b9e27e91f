"""Commands and their answers, on real servers."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from runyard_events import Reply, command, new_id
from runyard_events.commands import (
    AnswerApproval,
    CancelRun,
    CommandPayload,
    CreateSession,
    DeleteSession,
    RequestRun,
    SteerRun,
)

from .conftest import World, serving
from .peers import FakeRun


def refused(reply: Reply) -> tuple[int, str]:
    assert reply.problem is not None, reply
    return reply.problem.status, reply.problem.type


async def running(world: World, session_id: str, **fields: Any) -> tuple[str, FakeRun]:
    run_id = await world.prompt(session_id, **fields)
    return run_id, await asyncio.wait_for(world.runner.started(run_id), 20)


async def test_a_session_answers_with_its_worktree_and_thread(world: World) -> None:
    asked = CreateSession(session_id=new_id(), workspace_id=world.workspace_id, runner_type="codex")
    reply = await world.ask(asked)

    assert reply.result["repo_path"] == f"/workspaces/{world.workspace_id}/sessions/{asked.session_id}"
    assert reply.result["thread_id"]
    events = await world.events(asked.session_id)
    assert [one.event.type for one in events] == ["session.created", "worktree.opened", "session.ready"]
    assert reply.seq == events[-1].stream_seq


async def test_a_session_needs_a_known_runner_and_an_imported_workspace_of_the_same_tenant(world: World) -> None:
    def asked(workspace_id: str, runner_type: str = "codex") -> CreateSession:
        return CreateSession(session_id=new_id(), workspace_id=workspace_id, runner_type=runner_type)

    assert refused(await world.ask(asked(world.workspace_id, "abacus"))) == (422, "unknown-runner-type")
    assert refused(await world.ask(asked(new_id()))) == (404, "workspace-not-found")
    assert refused(await world.ask(asked("a.b"))) == (404, "workspace-not-found")
    assert refused(await world.ask(asked(world.workspace_id), tenant=new_id())) == (404, "workspace-not-found")


async def test_a_session_whose_worktree_fails_says_why_and_takes_no_prompts(world: World) -> None:
    world.workspace.fails = True
    asked = CreateSession(session_id=new_id(), workspace_id=world.workspace_id, runner_type="codex")

    reply = await world.ask(asked)

    assert refused(reply) == (409, "session-failed")
    assert reply.problem is not None
    assert "no room" in reply.problem.detail
    prompt = RequestRun(session_id=asked.session_id, run_id=new_id(), prompt="x")
    assert refused(await world.ask(prompt)) == (409, "session-failed")


async def test_a_slow_worktree_is_answered_in_time_and_the_session_becomes_ready_later(
    surroundings: World,
) -> None:
    world = replace(surroundings, settings=surroundings.settings.model_copy(update={"session_wait_seconds": 0.3}))
    world.workspace.is_open.clear()
    async with serving(world.settings):
        asked = CreateSession(session_id=new_id(), workspace_id=world.workspace_id, runner_type="codex")
        assert refused(await world.ask(asked)) == (504, "session-still-creating")
        prompt = RequestRun(session_id=asked.session_id, run_id=new_id(), prompt="x")
        assert refused(await world.ask(prompt)) == (409, "session-not-ready")

        world.workspace.is_open.set()
        await world.seen(asked.session_id, "session.ready")
        assert (await world.ask(prompt)).ok


@pytest.mark.parametrize("again", ["same command", "same request"])
async def test_the_same_request_twice_is_one_session_and_one_run(world: World, again: str) -> None:
    session = CreateSession(session_id=new_id(), workspace_id=world.workspace_id, runner_type="codex", request_hash="h")
    prompt = RequestRun(session_id=session.session_id, run_id=new_id(), prompt="x", request_hash="h")
    world.runner.starts = False
    for payload in (session, prompt):
        first, second = (
            [
                await world.ask(payload, command_id=f"{payload.TYPE}-{number if again == 'same request' else 0}")
                for number in range(2)
            ]
            if again == "same request"
            else await twice(world, payload)
        )
        assert first.ok
        assert second.ok
        assert [first.result.get(name) for name in ("session_id", "run_id", "thread_id")] == [
            second.result.get(name) for name in ("session_id", "run_id", "thread_id")
        ]

    types = await world.types(session.session_id)
    assert types.count("session.created") == types.count("run.requested") == types.count("run.dispatched") == 1


async def twice(world: World, payload: CommandPayload) -> list[Reply]:
    """One command delivered two times, as after the death of the process that had it."""
    nats = world.workspace.queue.client
    one = command(payload, tenant_id=world.tenant, actor="ada")
    replies: list[Reply] = []
    for number in range(2):
        inbox = nats.new_inbox()
        subscription = await nats.subscribe(inbox, max_msgs=1)
        body = one.model_copy(update={"reply_to": inbox}).model_dump_json().encode()
        await nats.request(one.subject, body, headers={"Nats-Msg-Id": f"{one.id}-{number}"})
        replies.append(Reply.model_validate_json((await subscription.next_msg(timeout=20)).data))
    return replies


async def test_an_idempotency_key_used_for_something_else_is_refused(world: World) -> None:
    session_id = await world.session(request_hash="h")
    other = CreateSession(
        session_id=session_id, workspace_id=world.workspace_id, runner_type="claude", request_hash="other"
    )
    assert refused(await world.ask(other)) == (422, "idempotency-key-reused")

    run_id = await world.prompt(session_id, request_hash="h")
    prompt = RequestRun(session_id=session_id, run_id=run_id, prompt="other", request_hash="other")
    assert refused(await world.ask(prompt)) == (422, "idempotency-key-reused")


async def test_what_belongs_to_another_tenant_is_not_there(world: World) -> None:
    session_id = await world.session()
    run_id, _ = await running(world, session_id)
    stranger = new_id()
    about: list[CommandPayload] = [
        RequestRun(session_id=session_id, run_id=new_id(), prompt="x"),
        DeleteSession(session_id=session_id),
        CancelRun(session_id=session_id, run_id=run_id),
        SteerRun(session_id=session_id, run_id=run_id, text="x"),
        AnswerApproval(session_id=session_id, run_id=run_id, approval_id="a", decision="accept"),
    ]
    assert [refused(await world.ask(one, tenant=stranger))[0] for one in about] == [404] * len(about)
    assert "run.cancel_requested" not in await world.types(session_id, run_id)


async def test_many_prompts_at_once_are_all_accepted_and_run_one_after_the_other(world: World) -> None:
    session_id = await world.session()
    world.runner.completes = True

    run_ids = await asyncio.gather(*(world.prompt(session_id, f"number {n}") for n in range(20)))
    await world.seen(session_id, "run.completed", count=20)

    events = [one.event for one in await world.events(session_id)]
    queued = [event.payload.queued_run_id for event in events if event.type == "session.run_queued"]
    activated = [event.payload.active_run_id for event in events if event.type == "session.run_activated"]
    completed = [event.run_id for event in events if event.type == "run.completed"]
    assert {*completed} == {*run_ids}
    assert completed == activated
    assert [run_id for run_id in activated if run_id in queued] == queued


async def test_a_full_queue_takes_no_more(surroundings: World) -> None:
    settings = surroundings.settings.model_copy(update={"longest_queue": 1})
    async with serving(settings):
        session_id = await surroundings.session()
        await running(surroundings, session_id)
        await surroundings.prompt(session_id)
        one_more = RequestRun(session_id=session_id, run_id=new_id(), prompt="x")
        assert refused(await surroundings.ask(one_more)) == (429, "queue-full")


async def test_a_waiting_run_is_cancelled_at_once(world: World) -> None:
    session_id = await world.session()
    first, run = await running(world, session_id)
    second, third = await world.prompt(session_id), await world.prompt(session_id)

    reply = await world.ask(CancelRun(session_id=session_id, run_id=second))
    await run.complete()

    assert reply.result["status"] == "cancelled"
    assert (await world.types(session_id, second))[-2:] == ["ui.run.cancelled", "run.cancelled"]
    next_one = await asyncio.wait_for(world.runner.started(third), 20)
    assert next_one.command.payload.run_id != first


async def test_a_run_that_no_runner_has_begun_is_cancelled_at_once(world: World) -> None:
    world.runner.starts = False
    session_id = await world.session()
    run_id = await world.prompt(session_id)

    reply = await world.ask(CancelRun(session_id=session_id, run_id=run_id))

    assert reply.result["status"] == "cancelled"
    assert (await world.types(session_id, run_id))[-1] == "run.cancelled"


async def test_a_running_run_is_asked_to_stop_and_ends_by_its_runner(world: World) -> None:
    session_id = await world.session()
    run_id, run = await running(world, session_id)

    reply = await world.ask(CancelRun(session_id=session_id, run_id=run_id, reason="enough"))
    again = await world.ask(CancelRun(session_id=session_id, run_id=run_id))
    asked = await run.follow(world.log, "run.cancel_requested")
    await run.cancelled()
    late = await world.ask(CancelRun(session_id=session_id, run_id=run_id))

    assert (reply.result["status"], again.result["status"]) == ("cancelling", "cancelling")
    assert asked.event.payload.reason == "enough"
    assert late.ok
    assert (await world.types(session_id, run_id)).count("run.cancel_requested") == 1


async def test_a_finished_run_cannot_be_cancelled_or_steered(world: World) -> None:
    session_id = await world.session()
    run_id, run = await running(world, session_id)
    await run.complete()

    assert refused(await world.ask(CancelRun(session_id=session_id, run_id=run_id))) == (409, "run-ended")
    assert refused(await world.ask(SteerRun(session_id=session_id, run_id=run_id, text="x"))) == (409, "run-ended")


async def test_words_for_a_running_turn_stand_in_the_transcript(world: World) -> None:
    session_id = await world.session()
    run_id, run = await running(world, session_id)

    assert (await world.ask(SteerRun(session_id=session_id, run_id=run_id, text="faster"))).ok

    assert (await run.follow(world.log, "run.steer_requested")).event.payload.text == "faster"
    assert (await world.types(session_id, run_id))[-2:] == ["ui.message.user", "run.steer_requested"]


async def test_of_two_answers_to_an_approval_the_first_counts(world: World) -> None:
    session_id = await world.session()
    run_id, run = await running(world, session_id)
    await run.ask("approval-1")

    def answer(decision: str, approval_id: str = "approval-1") -> AnswerApproval:
        return AnswerApproval.model_validate(
            {"session_id": session_id, "run_id": run_id, "approval_id": approval_id, "decision": decision}
        )

    assert refused(await world.ask(answer("accept", "other"))) == (404, "approval-not-found")
    assert refused(await world.ask(answer("cancel"))) == (422, "answer-not-offered")
    replies = await asyncio.gather(world.ask(answer("accept")), world.ask(answer("decline")))

    assert sorted(reply.ok for reply in replies) == [False, True]
    assert [refused(reply) for reply in replies if not reply.ok] == [(409, "approval-answered")]
    types = await world.types(session_id, run_id)
    assert types[-2:] == ["ui.approval.resolved", "run.approval_resolved"]


async def test_deleting_a_session_ends_its_runs_and_removes_its_worktree(world: World) -> None:
    session_id = await world.session()
    active, run = await running(world, session_id)
    waiting = await world.prompt(session_id)

    assert (await world.ask(DeleteSession(session_id=session_id))).ok
    await world.seen(session_id, "run.cancelled", run_id=waiting)
    await run.follow(world.log, "run.cancel_requested")
    assert "worktree.removed" not in await world.types(session_id)
    await run.cancelled()
    await world.seen(session_id, "worktree.removed")

    assert (await world.types(session_id, active))[-1] == "run.cancelled"
    assert (await world.ask(DeleteSession(session_id=session_id))).ok
    prompt = RequestRun(session_id=session_id, run_id=new_id(), prompt="x")
    assert refused(await world.ask(prompt)) == (404, "session-not-found")


async def test_a_secret_in_a_prompt_reaches_neither_log_nor_database(world: World) -> None:
    secret = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789"
    session_id = await world.session()
    run_id, run = await running(world, session_id, text=f"use {secret}")

    assert secret not in run.command.payload.prompt
    assert not any(secret.encode() in one.data for one in await world.events(session_id, run_id))
