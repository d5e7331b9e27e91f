"""Commands sent, answers given once they can be read."""

import asyncio
from uuid import uuid4

import httpx
import pytest

from runyard_events.catalogue import RunApprovalRequested
from runyard_gateway.imports import default_name, source_type_of

from .conftest import Running, Start, Story
from .histories import URI, imported, opened
from .owners import Owners

IMPORT = {"source_type": "github", "source_uri": URI}


async def make_session(api: httpx.AsyncClient) -> str:
    workspace = (await api.post("/api/workspaces/import", json=IMPORT)).json()["workspace_id"]
    body = {"workspace_id": workspace, "runner_type": "codex"}
    return str((await api.post("/api/sessions", json=body)).json()["session_id"])


async def test_an_import_is_answered_with_the_workspace_of_the_contract(api: httpx.AsyncClient, owners: Owners) -> None:
    answer = await api.post("/api/workspaces/import", json=IMPORT)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert made["display_name"] == "psf/requests"
    assert made["status"] == "ready"
    assert made["local_path"] == "/workspaces/w/repo"
    listed = (await api.get("/api/workspaces", params={"min_seq": answer.headers["x-runyard-seq"]})).json()
    assert listed["items"] == [made]


async def test_a_repository_that_is_not_there_is_a_422_with_its_reason(api: httpx.AsyncClient, owners: Owners) -> None:
    answer = await api.post(
        "/api/workspaces/import", json={"source_type": "git", "source_uri": "https://nowhere.test/a/b"}
    )
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "workspace-import-failed"
    assert answer.json()["reason"] == "not_found"
    row = await api.get(f"/api/workspaces/{answer.json()['workspace_id']}")
    assert row.json()["status"] == "failed"


async def test_an_address_that_is_refused_leaves_nothing_behind(api: httpx.AsyncClient, owners: Owners) -> None:
    body = {"source_type": "git", "source_uri": "http://user:secret@host.test/a/b"}
    answer = await api.post("/api/workspaces/import", json=body)
    assert (answer.status_code, answer.json()["reason"]) == (422, "refused_url")
    assert "secret" not in answer.text
    assert (await api.get("/api/workspaces")).json()["items"] == []


async def test_who_does_not_wait_follows_the_import_by_its_events(api: httpx.AsyncClient, owners: Owners) -> None:
    owners.may_import.clear()
    answer = await api.post("/api/workspaces/import", params={"wait": False}, json=IMPORT)
    assert (answer.status_code, answer.json()["status"]) == (202, "importing")
    workspace = answer.json()["workspace_id"]
    stream = asyncio.create_task(api.get(f"/api/workspaces/{workspace}/events"))
    owners.may_import.set()
    text = (await stream).text
    assert text.index("workspace.import_requested") < text.index('"workspace.imported"')
    assert (await api.get(f"/api/workspaces/{workspace}")).json()["status"] == "ready"


async def test_a_clone_that_takes_long_is_answered_with_202(start_gateway: Start, tenant: str, owners: Owners) -> None:
    owners.may_import.clear()
    async with start_gateway(import_wait_seconds=0.5) as running, running.client(tenant) as api:
        answer = await api.post("/api/workspaces/import", json=IMPORT)
        assert (answer.status_code, answer.json()["status"]) == (202, "importing")
    owners.may_import.set()


async def test_a_write_can_be_read_at_once(api: httpx.AsyncClient, owners: Owners) -> None:
    session = await make_session(api)
    for _ in range(5):
        answer = await api.post(f"/api/sessions/{session}/prompt", json={"prompt": "Do it"})
        assert answer.status_code == 201, answer.text
        run = answer.json()["run_id"]
        assert (await api.get(f"/api/runs/{run}")).json()["prompt"] == "Do it"
        assert run in [one["run_id"] for one in (await api.get("/api/runs")).json()["items"]]
        messages = (await api.get(f"/api/sessions/{session}/messages")).json()["items"]
        assert run in [one["run_id"] for one in messages]


async def test_a_session_on_an_address_imports_it_first(api: httpx.AsyncClient, owners: Owners) -> None:
    body = {"repo_url": URI, "runner_type": "claude", "title": "Look around"}
    made = (await api.post("/api/sessions", json=body)).json()
    assert {made["runner_type"], made["title"]} == {"claude", "Look around"}
    assert made["repo_path"]
    assert made["thread_id"]
    workspace = (await api.get(f"/api/workspaces/{made['workspace_id']}")).json()
    assert workspace["source_uri"] == URI


async def test_a_key_used_again_is_the_same_session_and_run(api: httpx.AsyncClient, owners: Owners) -> None:
    key = {"Idempotency-Key": "k-1"}
    body = {"repo_url": URI, "runner_type": "codex"}
    first, second = [(await api.post("/api/sessions", json=body, headers=key)).json() for _ in range(2)]
    assert first == second
    path = f"/api/sessions/{first['session_id']}/prompt"
    runs = [(await api.post(path, json={"prompt": "Go"}, headers=key)).json()["run_id"] for _ in range(2)]
    assert runs[0] == runs[1]
    assert len((await api.get("/api/runs")).json()["items"]) == 1


async def test_a_deleted_session_is_gone_and_its_runs_stay(api: httpx.AsyncClient, owners: Owners) -> None:
    session = await make_session(api)
    run = (await api.post(f"/api/sessions/{session}/prompt", json={"prompt": "Do it"})).json()["run_id"]
    assert (await api.delete(f"/api/sessions/{session}")).status_code == 204
    assert (await api.get(f"/api/sessions/{session}")).status_code == 404
    assert (await api.delete(f"/api/sessions/{session}")).status_code == 404
    assert (await api.get("/api/sessions")).json()["items"] == []
    assert (await api.get(f"/api/runs/{run}")).status_code == 200


async def test_an_owners_refusal_is_the_answer(api: httpx.AsyncClient, owners: Owners) -> None:
    session = await make_session(api)
    run = (await api.post(f"/api/sessions/{session}/prompt", json={"prompt": "Do it"})).json()["run_id"]
    cancelled = await api.post(f"/api/runs/{run}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelled")
    refused = await api.post(f"/api/runs/{run}/cancel", json={"reason": "again"})
    assert (refused.status_code, refused.json()["type"]) == (409, "run-ended")


async def test_an_approval_is_answered_once(
    api: httpx.AsyncClient, gateway: Running, owners: Owners, story: Story
) -> None:
    session = await make_session(api)
    run = (await api.post(f"/api/sessions/{session}/prompt", json={"prompt": "Do it"})).json()["run_id"]
    asked = RunApprovalRequested(
        approval_id="a-1",
        ask_kind="command",
        title="Run rm",
        detail={"command": "rm -rf \x00/"},
        options=("accept", "decline"),
        fingerprint="f",
    )
    seq = await story.tell(story.run(session, run), asked, source="runner-codex.1")
    listed = (await api.get(f"/api/runs/{run}/approvals", params={"min_seq": seq})).json()["items"]
    assert [(one["approval_id"], one["status"]) for one in listed] == [("a-1", "open")]
    path = f"/api/runs/{run}/approvals/a-1"
    accepted = (await api.post(path, json={"decision": "accept", "message": "fine"})).json()
    assert (accepted["status"], accepted["decision"]) == ("resolved", "accept")
    assert (await api.post(path, json={"decision": "decline"})).json()["decision"] == "accept"
    unknown = await api.post(f"/api/runs/{run}/approvals/a-2", json={"decision": "accept"})
    assert unknown.json()["type"] == "approval-not-found"


async def test_a_command_that_nobody_takes_is_a_504(start_gateway: Start, tenant: str, story: Story) -> None:
    ws, session = str(uuid4()), str(uuid4())
    await story.tell(story.workspace(ws), *imported(), source="workspace")
    seq = await story.tell(story.session(session), *opened(ws))
    async with start_gateway(command_timeout_seconds=0.3) as running, running.client(tenant) as api:
        await api.get("/api/sessions", params={"min_seq": seq})
        answer = await api.post(f"/api/sessions/{session}/prompt", json={"prompt": "Do it"})
        assert (answer.status_code, answer.json()["type"]) == (504, "command-timeout")


@pytest.mark.parametrize(
    ("uri", "name", "kind"),
    [
        ("https://github.com/psf/requests.git", "psf/requests", "github"),
        ("git@github.com:psf/requests.git", "psf/requests", "github"),
        ("psf/requests", "psf/requests", "github"),
        ("https://git.example.org/team/sub/tool/", "sub/tool", "git"),
        ("/home/ada/projects/tool", "projects/tool", "local"),
        ("file:///srv/tool", "srv/tool", "local"),
        ("ssh://git@host.test:22/a/b.git", "a/b", "git"),
        ("https://host.test", "repository", "git"),
    ],
)
def test_an_address_gives_its_name_and_kind(uri: str, name: str, kind: str) -> None:
    assert (default_name(uri), source_type_of(uri)) == (name, kind)
