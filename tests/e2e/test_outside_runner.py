"""A program with nothing but a session's token is that session's runner, by HTTP or by WebSocket."""

import asyncio
import json
import os
import subprocess
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import websockets

if TYPE_CHECKING:
    from tests.conftest import Api, Stack

pytestmark = [pytest.mark.timeout(120)]
SCRIPT = Path(__file__).parent / "outside_runner.sh"


async def outside(api: "Api", repository: Path, **more: Any) -> tuple[str, str]:
    """A session for a runner of one's own, and the token for it."""
    session = await api.session(await api.import_repository(repository), "external", **more)
    given = await api.call("POST", f"/api/sessions/{session}/container/token")
    return session, given["token"]


@contextmanager
def shell_runner(stack: "Stack", session: str, token: str) -> Generator[None]:
    environment = {"SESSION_ID": session, "SESSION_TOKEN": token, "MAIN_APP_URL": stack.url, "PATH": os.environ["PATH"]}
    process = subprocess.Popen(["sh", str(SCRIPT)], env=environment, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


class Box:
    """The container's side of the HTTP contract."""

    def __init__(self, client: httpx.AsyncClient, session: str, token: str) -> None:
        self._client, self._token = client, token
        self.hook = f"/api/container-webhooks/{session}"

    async def call(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._token}"}
        return await self._client.request(method, f"{self.hook}{path}", headers=headers, **arguments)

    async def inbox(self, after: int = 0, wait: float = 10) -> dict[str, Any]:
        answer = await self.call("GET", "/messages", params={"after": after, "wait": wait})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def say(self, kind: str, payload: dict[str, Any] | None = None, **more: Any) -> httpx.Response:
        body = {"id": more.pop("identity", uuid.uuid4().hex), "type": kind, "payload": payload or {}, **more}
        return await self.call("POST", "/message", json=body)


async def test_a_shell_script_is_a_runner(api: "Api", stack: "Stack", repository: Path) -> None:
    session, token = await outside(api, repository)
    with shell_runner(stack, session, token):
        runs = [await api.prompt(session, "Say something"), await api.prompt(session, "And again")]
        for run in runs:
            events = await api.events(run)
            types = [one.type for one in events]
            assert types[-1] == "run.completed"
            assert [one.type for one in events if one.type.startswith("run.")] == [
                "run.requested",
                "run.dispatched",
                "run.started",
                "run.completed",
            ]
            dispatched = next(one for one in events if one.type == "run.dispatched")
            assert dispatched.payload["method"] == "external"
            assert "Done by a shell." in [one.payload.get("text") for one in events if "assistant.final" in one.type]
            own = [one.event["seq"] for one in events if one.event["source"] == "external.1"]
            assert own == list(range(1, len(own) + 1))
    messages = await api.call("GET", f"/api/sessions/{session}/messages")
    assert "Done by a shell." in json.dumps(messages)


async def test_a_program_on_a_websocket_is_a_runner(api: "Api", stack: "Stack", repository: Path) -> None:
    session, token = await outside(api, repository)
    address = f"{stack.url.replace('http', 'ws', 1)}/ws/sessions/{session}?role=container&token={token}"
    async with websockets.connect(address) as socket:
        run = await api.prompt(session, "Hello")
        todo = json.loads(await asyncio.wait_for(socket.recv(), 20))
        assert (todo["type"], todo["run_id"], todo["payload"]["prompt"]) == ("prompt", run, "Hello")
        said: list[tuple[str, dict[str, Any]]] = [
            ("run.started", {}),
            ("ui.message.assistant.delta", {"textDelta": "by socket"}),
            ("ui.nonsense", {}),
            ("run.completed", {}),
        ]
        for number, (kind, payload) in enumerate(said):
            await socket.send(json.dumps({"id": str(number), "type": kind, "payload": payload, "run_id": run}))
        answers = [json.loads(await asyncio.wait_for(socket.recv(), 20)) for _ in range(4)]
        assert [(one["type"], one["id"]) for one in answers] == [
            ("recorded", "0"),
            ("recorded", "1"),
            ("refused", "2"),
            ("recorded", "3"),
        ]
        await socket.send("[1, 2")
        assert json.loads(await socket.recv())["problem"]["type"] == "frame-malformed"
        await socket.send('{"type": "ping"}')
        assert json.loads(await socket.recv()) == {"type": "pong"}
    events = await api.events(run)
    assert events[-1].type == "run.completed"
    assert "by socket" in [one.payload.get("textDelta") for one in events if one.type.endswith("delta")]


async def test_what_a_container_says_on_its_websocket_is_seen_by_a_client_on_another(
    api: "Api", stack: "Stack", token: str, repository: Path
) -> None:
    session, session_token = await outside(api, repository)
    address = f"{stack.url.replace('http', 'ws', 1)}/ws/sessions/{session}"
    client = websockets.connect(f"{address}?role=client&token={token}")
    container = websockets.connect(f"{address}?role=container&token={session_token}")
    async with client as seeing, container as saying:
        run = await api.prompt(session, "Hello")
        said: list[tuple[str, dict[str, Any]]] = [
            ("run.started", {}),
            ("ui.message.assistant.delta", {"textDelta": "from one socket to the other"}),
            ("run.completed", {}),
        ]
        for number, (kind, payload) in enumerate(said):
            await saying.send(json.dumps({"id": str(number), "type": kind, "payload": payload, "run_id": run}))
        seen: list[dict[str, Any]] = []
        async with asyncio.timeout(20):
            while not seen or seen[-1]["type"] != "run.completed":
                heard = json.loads(await seeing.recv())
                if heard.get("event", {}).get("source") == "external.1":
                    seen.append(heard["event"])
    assert {(one["sessionId"], one["runId"]) for one in seen} == {(session, run)}
    own = [one for one in seen if one["type"] in dict(said)]  # between them: how they are shown to people
    assert [one["type"] for one in own] == [one for one, _ in said]
    assert own[1]["payload"]["textDelta"] == "from one socket to the other"


async def test_what_people_say_to_a_run_reaches_its_container(api: "Api", repository: Path) -> None:
    session, token = await outside(api, repository, approval_policy="on-request")
    box = Box(api.client, session, token)
    run = await api.prompt(session, "Do it")
    todo = await box.inbox()
    assert [one["type"] for one in todo["messages"]] == ["prompt"]
    await box.say("run.started")
    ask = {
        "approvalId": str(uuid.uuid4()),
        "askKind": "command",
        "title": "rm",
        "detail": {"command": "rm x"},
        "options": ["accept", "decline"],
    }
    assert (await box.say("ui.approval.requested", ask)).status_code == 201

    answer = {"decision": "decline", "message": "no"}
    await api.call("POST", f"/api/runs/{run}/approvals/{ask['approvalId']}", json=answer)
    [approval] = (todo := await box.inbox(todo["cursor"]))["messages"]
    assert approval["type"] == "approval"
    assert approval["payload"]["decision"] == "decline"
    await api.call("POST", f"/api/runs/{run}/cancel")
    [cancel] = (todo := await box.inbox(todo["cursor"]))["messages"]
    assert cancel["type"] == "cancel"
    assert (await box.say("run.cancelled", {"reason": "asked to"})).status_code == 201
    assert (await api.events(run))[-1].type == "run.cancelled"
    assert (await box.inbox(0, wait=0))["messages"] == [], "an ended run calls for nothing"


async def test_a_message_counts_once_and_wrong_ones_not_at_all(api: "Api", repository: Path) -> None:
    session, token = await outside(api, repository)
    box = Box(api.client, session, token)
    assert (await box.say("run.started")).json()["type"] == "no-active-run"
    run = await api.prompt(session, "Do it")
    await box.inbox()
    assert (await box.say("ui.notice", {"level": "info", "message": "x"})).json()["type"] == "run-not-started"
    for accepted in (1, 0):
        assert (await box.say("run.started", identity="start")).json()["accepted"] == accepted
    refused: list[tuple[str, dict[str, Any], str]] = [
        ("ui.run.completed", {}, "message-type"),
        ("ui.message.user", {"text": "me"}, "message-type"),
        ("run.requested", {}, "message-type"),
        ("session.deleted", {}, "message-type"),
        ("llm.call.completed", {}, "message-type"),
        ("ui.tool.call", {"name": "x"}, "message-payload"),
        ("run.error", {"reason": "runner_lost", "message": "x"}, "message-payload"),
        ("ui.tool.result", {"toolName": "x", "output": "", "outputRef": f"{uuid.uuid4()}/x/y"}, "message-payload"),
        ("ui.message.assistant.final", {"text": "x" * 300_000}, "message-too-large"),
    ]
    for kind, payload, problem in refused:
        answer = await box.say(kind, payload)
        assert (answer.status_code, answer.json()["type"]) == (422, problem), kind
    some = [{"id": "a", "type": "ui.notice", "payload": {"level": "info", "message": "x"}}, {"id": "b", "type": "no"}]
    answer = await box.call("POST", "/messages", json={"messages": some})
    assert (answer.status_code, answer.json()["message_number"]) == (422, 1)
    content = b"whole" * 1_000_000
    kept = await box.call("PUT", f"/outputs/{run}/{uuid.uuid4()}", content=content)
    assert kept.status_code == 201
    reference = kept.json()["ref"]
    result = {"toolName": "x", "output": "whole...", "truncated": True, "outputRef": reference}
    assert (await box.say("ui.tool.result", result)).status_code == 201
    whole = await api.client.get(f"/api/outputs/{reference}")
    assert whole.content == content
    assert (await box.say("run.completed", identity="end")).json()["accepted"] == 1
    assert (await box.say("run.completed", identity="end")).json()["accepted"] == 0
    assert (await box.say("run.completed")).json()["type"] == "run-ended"
    events = await api.events(run)
    assert [one.type for one in events if one.event["source"].startswith("external")] == [
        "ui.run.started",
        "run.started",
        "ui.tool.result",
        "ui.run.completed",
        "run.completed",
    ]


async def test_a_token_opens_its_own_session_only(api: "Api", stack: "Stack", repository: Path, token: str) -> None:
    session, own = await outside(api, repository)
    other, others = await outside(api, repository)
    run = await api.prompt(other, "Not yours")
    box = Box(api.client, session, own)

    def elsewhere(presented: str) -> Box:
        return Box(api.client, other, presented)

    for presented, status in ((own, 404), (token, 401), ("x", 401)):
        for method, path, arguments in (
            ("GET", "", {}),
            ("GET", "/messages", {}),
            ("POST", "/message", {"json": {"id": "1", "type": "run.started"}}),
            ("POST", "/messages", {"json": {"messages": [{"id": "1", "type": "run.started"}]}}),
            ("PUT", f"/outputs/{run}/{uuid.uuid4()}", {"content": b"x"}),
        ):
            answer = await elsewhere(presented).call(method, path, **arguments)
            assert answer.status_code == status, (method, path, answer.text)
        address = f"{stack.url.replace('http', 'ws', 1)}/ws/sessions/{other}?role=container&token={presented}"
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(address)
        assert refused.value.response.status_code == status
    assert (await box.say("run.started", run_id=run)).status_code == 404
    assert (await box.call("PUT", f"/outputs/{run}/{uuid.uuid4()}", content=b"x")).status_code == 404
    headers = {"Authorization": f"Bearer {others}"}
    for path in (f"/api/sessions/{other}", f"/api/runs/{run}", "/api/sessions", f"/api/runs/{run}/events"):
        assert (await api.client.get(path, headers=headers)).status_code == 401, "a session's token is no user's"
    codex = await api.session(await api.import_repository(repository), "codex")
    assert (await api.client.post(f"/api/sessions/{codex}/container/token")).status_code == 409

    await api.call("DELETE", f"/api/sessions/{other}")
    assert (await elsewhere(others).call("GET", "/messages")).status_code == 401
