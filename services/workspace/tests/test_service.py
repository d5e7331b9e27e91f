"""The service end to end: commands in, events and files out, on the real NATS and PostgreSQL."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from pydantic import SecretStr
from sqlalchemy import select

from runyard_chassis import Database, Tokens
from runyard_events import EventLog, Scope, Writer, connect, new_id
from runyard_events.catalogue import (
    CheckpointCreated,
    CheckpointFailed,
    RunCancelled,
    RunError,
    RunRequested,
)
from runyard_events.commands import (
    FetchWorkspace,
    OpenPreviewTree,
    OpenWorktree,
    PrepareSandbox,
    PushSession,
    RemoveCredential,
    RemoveWorktree,
)
from runyard_events.subjects import run_subject, session_subject
from runyard_stack.testing import SecuredNats
from runyard_workspace.app import PACKAGE, build_projectors
from runyard_workspace.settings import Settings
from runyard_workspace.store import checkpoints, credentials, metadata, projection_checkpoints, workspaces, worktrees

from .conftest import KEY, Running, git, make_repository, running
from .remote_service import admin, sign_in


async def test_the_files_of_a_run_go_from_import_to_checkpoint_and_diff(service: Running, repository: Path) -> None:
    workspace = await service.import_local(repository)
    session, path = await service.open_session(workspace)
    assert path == service.root / workspace / "worktrees" / session
    assert git(path, "rev-parse", "--abbrev-ref", "HEAD") == f"runyard/{session.replace('-', '')[:8]}"
    (path / "NOTES.md").write_text("one\ntwo\n")
    (path / "README.md").unlink()
    run = new_id()
    stored = await service.finish_run(session, run)
    kept = stored.event.payload
    assert isinstance(kept, CheckpointCreated)
    assert (kept.files_changed, kept.insertions, kept.deletions) == (2, 2, 1)
    assert kept.ref == f"refs/runyard/sessions/{session}/runs/{run}"
    assert (stored.event.source, stored.event.seq) == ("workspace", 1)

    diff = await service.http.get(f"/runs/{run}/diff", headers=service.headers())
    assert diff.status_code == 200, diff.text
    assert {one["path"]: one["status"] for one in diff.json()["files"]} == {
        "NOTES.md": "added",
        "README.md": "deleted",
    }
    live = await service.http.get(f"/sessions/{session}/diff", headers=service.headers())
    assert live.json()["patch"] == diff.json()["patch"]


async def test_the_diff_of_a_later_run_holds_only_its_own_changes(service: Running, repository: Path) -> None:
    session, path = await service.session_of(repository)
    one, two, three = new_id(), new_id(), new_id()
    (path / "one.txt").write_text("1\n")
    await service.finish_run(session, one)
    (path / "two.txt").write_text("2\n")
    await service.finish_run(session, two, RunError(reason="agent_error", message="it broke"))
    (path / "three.txt").write_text("3\n")

    async def paths(url: str) -> list[str]:
        answer = await service.http.get(url, headers=service.headers())
        assert answer.status_code == 200, answer.text
        return [each["path"] for each in answer.json()["files"]]

    assert await paths(f"/runs/{one}/diff") == ["one.txt"]
    assert await paths(f"/runs/{two}/diff") == ["two.txt"]
    assert await paths(f"/runs/{three}/diff?session_id={session}") == ["three.txt"]
    assert await paths(f"/sessions/{session}/diff") == ["one.txt", "three.txt", "two.txt"]
    assert await paths(f"/sessions/{session}/diff?from={one}&to={two}") == ["two.txt"]
    assert await paths(f"/sessions/{session}/diff?from={two}") == ["three.txt"]
    text = await service.http.get(f"/runs/{one}/diff", headers={**service.headers(), "Accept": "text/x-diff"})
    assert text.text.startswith("diff --git a/one.txt b/one.txt\n")


async def test_a_run_s_end_told_again_makes_no_second_checkpoint(
    service: Running, settings: Settings, repository: Path, nats_client: Client, jetstream: JetStreamContext
) -> None:
    session, path = await service.session_of(repository)
    run = new_id()
    (path / "a.txt").write_text("a\n")
    first = await service.finish_run(session, run)
    (path / "a.txt").write_text("changed later\n")
    ends = await service.events(run_subject(service.tenant, session, run, "lifecycle"))
    acks = await nats_client.subscribe("$JS.EVENT.METRIC.CONSUMER.ACK.EVENTS.workspace-effects")
    info = await jetstream.consumer_info("EVENTS", "workspace-effects")
    await jetstream.delete_consumer("EVENTS", "workspace-effects")
    await jetstream.add_consumer("EVENTS", replace(info.config, sample_freq="100"))
    async with running(settings, nats_client, service.tenant):
        while json.loads((await acks.next_msg(timeout=20)).data)["stream_seq"] != ends[-1].stream_seq:
            continue
    effects = await service.events(run_subject(service.tenant, session, run, "effect"))
    assert [one.event.id for one in effects] == [first.event.id]
    assert git(service.root, "-C", str(path), "show", f"{first.event.payload.commit}:a.txt") == "a"


async def test_a_run_that_never_started_has_no_checkpoint(service: Running, repository: Path) -> None:
    session, path = await service.session_of(repository)
    (path / "half.txt").write_text("another run is at work\n")
    queued = new_id()
    writer = Writer(service.log, scope=Scope.run(service.tenant, session, queued), source="orchestrator")
    await writer.append_all([RunRequested(prompt="x", workspace_id="w", runner_type="codex"), RunCancelled()])
    later = new_id()
    await service.finish_run(session, later)
    assert await service.events(run_subject(service.tenant, session, queued, "effect")) == []


async def test_files_that_are_gone_make_a_failed_checkpoint(service: Running, repository: Path) -> None:
    session, path = await service.session_of(repository)
    path.rename(path.with_name("moved"))
    run = new_id()
    stored = await service.finish_run(session, run)
    assert isinstance(stored.event.payload, CheckpointFailed)
    answer = await service.http.get(f"/runs/{run}/diff", headers=service.headers())
    assert (answer.status_code, answer.json()["type"]) == (404, "checkpoint-failed")


async def test_a_worktree_is_opened_once_however_often_it_is_asked_for(service: Running, repository: Path) -> None:
    workspace = await service.import_local(repository)
    session, path = await service.open_session(workspace)
    (path / "mine.txt").write_text("kept")
    again = await service.ask(OpenWorktree(workspace_id=workspace, session_id=session))
    assert again.result["path"] == str(path)
    assert (path / "mine.txt").exists()
    assert len(await service.events(session_subject(service.tenant, session, "effect"))) == 1


async def test_sessions_opened_at_once_get_a_worktree_each(service: Running, repository: Path) -> None:
    workspace = await service.import_local(repository)
    opened = await asyncio.gather(*(service.open_session(workspace) for _ in range(8)))
    assert len({path for _, path in opened}) == 8
    assert all((path / "README.md").exists() for _, path in opened)


async def test_no_worktree_is_made_of_an_unknown_workspace_or_of_another_tenant_s(
    service: Running, repository: Path
) -> None:
    workspace = await service.import_local(repository)
    other = new_id()
    for tenant, wanted in ((service.tenant, new_id()), (other, workspace)):
        session = new_id()
        reply = await service.ask(OpenWorktree(workspace_id=wanted, session_id=session), tenant=tenant)
        assert reply.problem
        assert reply.problem.type == "workspace-not-found"
        stored = await service.events(session_subject(tenant, session, "effect"))
        assert [one.event.payload.reason for one in stored] == ["workspace_not_found"]


async def test_a_removed_session_has_no_files_but_keeps_its_history(service: Running, repository: Path) -> None:
    workspace = await service.import_local(repository)
    session, path = await service.open_session(workspace)
    (path / "a.txt").write_text("a\n")
    run = new_id()
    await service.finish_run(session, run)
    order = RemoveWorktree(workspace_id=workspace, session_id=session)
    first, again = await service.ask(order), await service.ask(order)
    assert first.ok
    assert again.ok
    assert not path.exists()
    stored = await service.events(session_subject(service.tenant, session, "effect"))
    assert [(one.event.type, one.event.seq) for one in stored] == [("worktree.opened", 1), ("worktree.removed", 2)]
    answer = await service.http.get(f"/sessions/{session}/files", headers=service.headers())
    assert (answer.status_code, answer.json()["type"]) == (404, "worktree-removed")
    answer = await service.http.get(f"/sessions/{session}/diff", headers=service.headers())
    assert answer.status_code == 404
    answer = await service.http.get(f"/runs/{run}/diff", headers=service.headers())
    assert [one["path"] for one in answer.json()["files"]] == ["a.txt"]
    reply = await service.ask(OpenWorktree(workspace_id=workspace, session_id=session))
    assert reply.problem
    assert reply.problem.type == "worktree-removed"


ROUTES = [
    ("GET", "/sessions/{session}/files"),
    ("GET", "/sessions/{session}/files/README.md"),
    ("PUT", "/sessions/{session}/files/README.md"),
    ("GET", "/sessions/{session}/diff"),
    ("GET", "/runs/{run}/diff"),
    ("GET", "/runs/{run}/diff?session_id={session}"),
]


async def test_every_route_is_the_tenant_s_own(service: Running, repository: Path) -> None:
    session, path = await service.session_of(repository)
    run = new_id()
    await service.finish_run(session, run)
    good = service.tokens.mint(tenant=service.tenant, user="ada")
    bad = {
        "none": None,
        "expired": service.tokens.mint(tenant=service.tenant, user="ada", lifetime=timedelta(hours=-1)),
        "another key": Tokens("another-key-that-is-long-enough-too").mint(tenant=service.tenant, user="ada"),
        "another audience": Tokens(KEY, "runyard-llm").mint(tenant=service.tenant, user="ada"),
    }
    for method, route in ROUTES:
        url = route.format(session=session, run=run)
        for token in bad.values():
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            answer = await service.http.request(method, url, headers=headers, content=b"x")
            assert answer.status_code == 401, (method, url)
        answer = await service.http.request(method, url, headers=service.headers(new_id()), content=b"x")
        assert answer.status_code == 404, (method, url)
        assert answer.headers["content-type"] == "application/problem+json"
        answer = await service.http.request(method, url, headers={"Authorization": f"Bearer {good}"}, content=b"x")
        assert answer.status_code == 200, (method, url, answer.text)
    assert (path / "README.md").read_bytes() == b"x"


TABLES = {table.name: table for table in (workspaces, worktrees, checkpoints, credentials)}


async def rows(database: Database) -> dict[str, list[Any]]:
    async with database.session() as session:
        return {
            table.name: sorted((tuple(row) for row in (await session.execute(select(table))).all()), key=repr)
            for table in TABLES.values()
        }


async def test_rows_rebuilt_from_the_log_are_equal_to_the_live_ones(
    service: Running, settings: Settings, repository: Path, nats_client: Client, tmp_path: Path
) -> None:
    workspace = await service.import_local(repository)
    git(tmp_path, "init", "-q", "empty")
    with pytest.raises(AssertionError):
        await service.import_local(tmp_path / "empty")
    session, path = await service.open_session(workspace)
    (path / "a.txt").write_text("a\n")
    await service.finish_run(session)
    other, other_path = await service.open_session(workspace)
    other_path.rename(tmp_path / "gone")
    await service.finish_run(other)
    await service.ask(PushSession(workspace_id=workspace, session_id=session))
    await service.ask(PushSession(workspace_id=workspace, session_id=session, branch="main"))
    await service.ask(FetchWorkspace(workspace_id=workspace))
    await sign_in(service, "github.com", identifier="a")
    await sign_in(service, "github.com", identifier="b")
    await service.ask(RemoveCredential(credential_id="a"))
    await service.ask(RemoveWorktree(workspace_id=workspace, session_id=session))
    await service.ask(OpenWorktree(workspace_id=new_id(), session_id=new_id()))

    database = Database(settings.database_url, "workspace")
    log = EventLog(nats_client)
    end = max([stored.stream_seq async for stored in log.replay("ev.*.session.*.effect")])
    sorts = {stored.event.type async for stored in log.replay("ev.>") if stored.event.source == "workspace"}
    assert sorts >= {"branch.pushed", "branch.push_failed", "workspace.fetched", "team.credential_removed"}
    live = build_projectors(log, nats_client, database)
    before = await settle(live, database)
    assert [len(before[name]) for name in TABLES] == [2, 3, 2, 2]
    async with database.transaction() as db:
        for table in TABLES.values():
            await db.execute(table.delete())
        # Last: the running service waits for this lock, and then finds itself sent back to the start.
        await db.execute(projection_checkpoints.update().values(stream_seq=0))
    assert end
    assert await settle(build_projectors(log, nats_client, database), database) == before
    await database.close()


async def settle(projectors: dict[str, Any], database: Database) -> dict[str, list[Any]]:
    """Runs projectors to the end of the log, and returns the rows."""
    tasks = [asyncio.ensure_future(projector.run()) for projector in projectors.values()]
    await asyncio.gather(*(projector.caught_up.wait() for projector in projectors.values()))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return await rows(database)


async def test_the_migrated_schema_is_the_one_in_code_and_can_be_taken_back(database_url: str) -> None:
    database = Database(database_url, "workspace")
    await database.migrate(PACKAGE)
    assert await database.drift(PACKAGE, metadata) == []
    await database.downgrade(PACKAGE)
    await database.migrate(PACKAGE)
    await database.close()


async def test_the_service_needs_no_more_than_its_own_subjects(
    settings: Settings, secured_nats: SecuredNats, tenant: str, repository: Path
) -> None:
    own = settings.model_copy(
        update={
            "nats_url": secured_nats.url,
            "nats_user": "workspace",
            "nats_password": SecretStr(secured_nats.passwords["workspace"]),
        }
    )
    gateway = await connect(
        secured_nats.url, service="gateway", user="gateway", password=secured_nats.passwords["gateway"]
    )
    stack = await connect(secured_nats.url, service="stack", user="stack", password=secured_nats.passwords["stack"])
    try:
        async with running(own, gateway, tenant) as service:
            workspace = await service.import_local(repository)
            session, path = await service.open_session(workspace)
            (path / "a.txt").write_text("a\n")
            service.log = EventLog(stack)
            run = new_id()
            assert isinstance((await service.finish_run(session, run)).event.payload, CheckpointCreated)
            answer = await service.http.get(f"/runs/{run}/diff", headers=service.headers())
            assert answer.status_code == 200
            for wanted in (
                PrepareSandbox(session_id=session),
                OpenPreviewTree(workspace_id=workspace, preview_id="p"),
                FetchWorkspace(workspace_id=workspace),
                PushSession(workspace_id=workspace, session_id=session),
                RemoveWorktree(workspace_id=workspace, session_id=session),
            ):
                assert (await service.ask(wanted)).ok
            assert (await sign_in(service, "github.com")).ok
            listed = await service.http.get("/credentials", headers=admin(service))
            assert len(listed.json()["items"]) == 1
            assert (await service.http.get("/ready")).status_code == 200
    finally:
        await gateway.close()
        await stack.close()


async def test_health_and_readiness_are_answered(service: Running) -> None:
    assert (await service.http.get("/health")).json() == {"status": "ok"}
    assert (await service.http.get("/ready")).status_code == 200
    assert (await service.http.get("/metrics")).status_code == 200


async def test_one_tenant_s_local_repository_is_not_shared_with_another(service: Running, tmp_path: Path) -> None:
    source = make_repository(tmp_path / "one")
    workspace = await service.import_local(source)
    session, _ = await service.open_session(workspace)
    answer = await service.http.get(f"/sessions/{session}/files", headers=service.headers(new_id()))
    assert answer.json()["type"] == "session-not-found"
