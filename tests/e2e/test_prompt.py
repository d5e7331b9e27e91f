"""One prompt, through a real agent on a real repository, kept as replayable events."""

import asyncio
import json
import os
import subprocess
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.runs import TERMINAL, assert_gapless, ends

if TYPE_CHECKING:
    from tests.conftest import Api, Seen, Stack

pytestmark = [pytest.mark.agents, pytest.mark.timeout(180)]
AGENTS = pytest.mark.parametrize("agent", ["codex", "claude"])


def assert_one_end(events: list["Seen"], wanted: str = "run.completed") -> None:
    assert ends(events) == [wanted], [one.event for one in events if one.type in {"ui.error", "run.error"}]
    assert events[-1].type == wanted


@AGENTS
async def test_a_prompt_lists_the_files_and_adds_notes(api: "Api", repository: Path, agent: str) -> None:
    workspace = await api.import_repository(repository)
    session = await api.session(workspace, agent)
    run = await api.prompt(session, "List the files and add a NOTES.md that says what this is")

    events = await api.events(run)

    assert_one_end(events)
    assert_gapless(events)
    types = [one.type for one in events]
    for wanted in ("run.requested", "ui.run.started", "ui.message.user", "ui.tool.call", "ui.tool.result"):
        assert wanted in types
    assert "raw.received" in types
    finals = [one.payload["text"] for one in events if one.type == "ui.message.assistant.final"]
    assert any("scripted" in text.lower() for text in finals)
    notes = await api.client.get(f"/api/sessions/{session}/workspace/files/NOTES.md")
    assert notes.status_code == 200
    diff = await api.call("GET", f"/api/sessions/{session}/diff")
    assert "NOTES.md" in str(diff)
    assert not (repository / "NOTES.md").exists(), "the user's own copy is not touched"
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=repository, capture_output=True, text=True, check=True
    )
    assert status.stdout == ""


@AGENTS
async def test_a_run_costs_what_the_gateway_counted(api: "Api", repository: Path, agent: str) -> None:
    session = await api.session(await api.import_repository(repository), agent)
    run = await api.prompt(session, "[[script: tokens 20]]")
    events = await api.events(run)
    assert_one_end(events)

    async with asyncio.timeout(10):
        while not (await api.call("GET", f"/api/runs/{run}"))["usage"]["input_tokens"]:
            await asyncio.sleep(0.05)
    details = await api.call("GET", f"/api/runs/{run}", params={"min_seq": events[-1].id})

    assert details["status"] == "completed"
    assert details["usage"]["output_tokens"] > 0


@AGENTS
async def test_a_stream_read_in_pieces_is_the_stream_read_at_once(api: "Api", repository: Path, agent: str) -> None:
    session = await api.session(await api.import_repository(repository), agent)
    run = await api.prompt(session, "[[script: tokens 60 delay 5]]")
    pieces: list[Seen] = []
    last: int | None = None
    ended = False
    while not ended:
        taken = 0
        async for one in api.stream(f"/api/runs/{run}/events", last):
            pieces.append(one)
            last = one.id
            taken += 1
            ended = one.type in TERMINAL
            if taken == 7:
                break

    whole = await api.events(run)

    assert [(one.id, one.event) for one in pieces] == [(one.id, one.event) for one in whole]


@AGENTS
async def test_a_cancelled_run_ends_as_cancelled_and_its_command_is_gone(
    api: "Api", repository: Path, agent: str
) -> None:
    session = await api.session(await api.import_repository(repository), agent)
    # Claude refuses a command that begins with a long sleep; the number makes the command this test's own.
    sleep = f"sleep 4242.{os.getpid()}"
    steps = [{"run": f"echo started; {sleep}"}, {"say": "never"}]
    run = await api.prompt(session, f"[[script: {json.dumps({'steps': steps})}]]")
    await api.until(run, "ui.tool.call")

    await api.call("POST", f"/api/runs/{run}/cancel")
    events = await api.events(run)

    assert_one_end(events, "run.cancelled")
    assert_gapless(events)
    async with asyncio.timeout(30):
        while subprocess.run(["pgrep", "-f", f"^{sleep}$"], capture_output=True, check=False).stdout:
            await asyncio.sleep(0.05)
    next_run = await api.prompt(session, "[[script: tokens 5]]")
    assert_one_end(await api.events(next_run))


@AGENTS
async def test_a_second_prompt_waits_for_the_first_and_remembers_it(api: "Api", repository: Path, agent: str) -> None:
    session = await api.session(await api.import_repository(repository), agent)
    first = await api.prompt(session, "[[script: tokens 40 delay 10]]")
    second = await api.prompt(session, "[[script: tokens 5]]")

    events = await api.events(second)

    assert_one_end(events)
    first_end = (await api.events(first))[-1].id
    assert next(one.id for one in events if one.type == "run.started") > first_end
    messages = (await api.call("GET", f"/api/sessions/{session}/messages"))["items"]
    assert [one["role"] for one in messages] == ["user", "assistant", "user", "assistant"]


@AGENTS
@pytest.mark.parametrize(("decision", "ran"), [("accept", True), ("decline", False)])
async def test_an_approval_is_asked_answered_and_obeyed(
    api: "Api", repository: Path, agent: str, decision: str, ran: bool
) -> None:
    target = Path(f"/var/tmp/runyard-approval-{uuid.uuid4().hex}")
    session = await api.session(await api.import_repository(repository), agent, approval_policy="on-request")
    script = f'{{"steps": [{{"run": "touch {target}", "escalate": "outside"}}, {{"say": "done"}}]}}'
    run = await api.prompt(session, f"[[script: {script}]]")
    seen = await api.until(run, "ui.approval.requested")
    approval = seen[-1].payload["approvalId"]

    try:
        answer = {"decision": decision}
        await api.call("POST", f"/api/runs/{run}/approvals/{approval}", json=answer)
        events = await api.events(run)

        assert_one_end(events)
        resolved = [one.payload for one in events if one.type == "ui.approval.resolved"]
        assert [one["decision"] for one in resolved] == [decision]
        assert target.exists() is ran
    finally:
        target.unlink(missing_ok=True)


async def test_a_restart_finds_all_data_again(stack: "Stack", api: "Api", repository: Path) -> None:
    session = await api.session(await api.import_repository(repository), "codex")
    run = await api.prompt(session, "[[script: tokens 10]]")
    before = await api.events(run)

    stack.down()
    stack.up()

    after = await api.events(run)
    assert [one.event for one in after] == [one.event for one in before]
    again = await api.prompt(session, "[[script: tokens 5]]")
    assert_one_end(await api.events(again))
