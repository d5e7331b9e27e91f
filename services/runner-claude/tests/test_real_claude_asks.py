"""What the real Claude asks before it acts, and what comes of the answers."""

import pytest

from runyard_events.catalogue import ToolResult
from runyard_runner.adapter import Decision, Native, Turn

from .turns import React, Session, session

__all__ = ["session"]

pytestmark = [pytest.mark.agents, pytest.mark.timeout(60)]


def answering(**decisions: Decision) -> React:
    """Answers each ask by its kind."""

    async def react(native: Native, turn: Turn) -> None:
        if native.ask:
            await turn.answer(native.ask.key, decisions[native.ask.kind])

    return react


async def test_the_policy_never_asks_nobody(session: Session) -> None:
    heard = await session.run({"run": "touch zz"}, {"ask": "Which?", "options": ["a", "b"]}, {"say": "Done."})
    assert heard.asks == []
    assert (session.cwd / "zz").exists()
    assert heard.end.status == "completed"


async def test_an_accepted_command_runs_and_a_declined_one_does_not(session: Session) -> None:
    async def react(native: Native, turn: Turn) -> None:
        if native.ask:
            kind = "accept" if native.ask.detail["command"] == "touch yes" else "decline"
            await turn.answer(native.ask.key, Decision(kind=kind))

    heard = await session.run(
        {"run": "touch yes"}, {"run": "touch no"}, {"say": "Done."}, policy="on-request", react=react
    )
    assert [ask.title for ask in heard.asks] == ["touch yes", "touch no"]
    assert [result.status for result in heard.all(ToolResult)] == ["completed", "declined"]
    assert sorted(path.name for path in session.cwd.iterdir()) == ["yes"]
    assert heard.end.status == "completed"


async def test_a_file_change_is_asked_for_with_its_diff(session: Session) -> None:
    heard = await session.run(
        {"write": "a.md", "text": "one\n"},
        {"say": "Done."},
        policy="on-request",
        react=answering(file_change=Decision(kind="accept")),
    )
    (ask,) = heard.asks
    assert (ask.title, ask.detail["diff"]) == ("a.md", "--- /dev/null\n+++ b/a.md\n@@ -0,0 +1,1 @@\n+one\n")
    assert (session.cwd / "a.md").exists()


async def test_what_was_accepted_for_the_session_is_not_asked_again_in_its_next_run(session: Session) -> None:
    react = answering(command=Decision(kind="accept_for_session"))
    steps = ({"run": "touch 'a,(b)'"}, {"say": "Done."})
    first = await session.run(*steps, policy="on-request", react=react)
    second = await session.run(*steps, policy="on-request", react=react, thread=session.thread_id)
    assert (len(first.asks), len(second.asks)) == (1, 0)
    assert second.end.status == "completed"


async def test_a_cancelled_approval_ends_the_turn(session: Session) -> None:
    react = answering(command=Decision(kind="cancel"))
    heard = await session.run({"run": "touch zz"}, {"say": "Done."}, policy="on-request", react=react)
    assert heard.end.status == "interrupted"
    assert not (session.cwd / "zz").exists()


async def test_a_question_gets_its_answer(session: Session) -> None:
    react = answering(question=Decision(kind="accept", answers={"q1": "blue"}))
    heard = await session.run(
        {"ask": "Which colour?", "options": ["red", "blue"]}, {"say": "Done."}, policy="on-request", react=react
    )
    (ask,) = heard.asks
    assert ask.questions[0]["question"] == "Which colour?"
    assert '"Which colour?"="blue"' in heard.all(ToolResult)[0].output


async def test_an_interrupt_while_claude_asks_withdraws_the_ask(session: Session) -> None:
    async def react(native: Native, turn: Turn) -> None:
        if native.ask:
            await turn.interrupt()

    heard = await session.run({"run": "touch zz"}, {"say": "Done."}, policy="on-request", react=react)
    assert [native.answered for native in heard.natives if native.answered] == [heard.asks[0].key]
    assert heard.end.status == "interrupted"
