"""Workspaces that are worked with follow their remotes without being asked."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from nats.aio.client import Client

from runyard_chassis import Database
from runyard_events.catalogue import WorkspaceFetched, WorkspaceSyncFailed
from runyard_events.commands import FetchWorkspace, RemoveWorktree
from runyard_events.subjects import workspace_subject
from runyard_workspace.settings import Settings
from runyard_workspace.store import workspaces_in_use

from .conftest import Running, git, running
from .remote_servers import TOKEN, GitServer
from .remote_service import imported


@pytest.fixture
async def hasty(settings: Settings, nats_client: Client, tenant: str) -> AsyncGenerator[Running]:
    async with running(settings.model_copy(update={"fetch_every_seconds": 0.1}), nats_client, tenant) as one:
        yield one


async def _next(service: Running, workspace: str, *, behind: int) -> list[WorkspaceFetched | WorkspaceSyncFailed]:
    """Waits for one more event about the remote than there were, and returns them all."""
    found: list[WorkspaceFetched | WorkspaceSyncFailed] = []
    subject = workspace_subject(service.tenant, workspace, "lifecycle")
    async for stored in service.log.follow(subject, from_seq=1):
        payload = stored.event.payload
        if isinstance(payload, WorkspaceFetched | WorkspaceSyncFailed):
            found.append(payload)
            if len(found) > behind:
                return found
    raise AssertionError


async def test_what_is_new_at_the_remote_comes_by_itself_and_is_told_once(
    hasty: Running, server: GitServer, repository: Path
) -> None:
    workspace = await imported(hasty, server, repository)
    await hasty.open_session(workspace)
    bare = server.bare("org/repo")
    git(bare, "branch", "b", "main")
    assert await _next(hasty, workspace, behind=0) == [WorkspaceFetched(branches={"b": git(bare, "rev-parse", "b")})]

    git(bare, "branch", "-D", "b")
    # However often it was looked in between: only what is new is an event.
    assert (await _next(hasty, workspace, behind=1))[1:] == [WorkspaceFetched(branches={"b": ""})]


async def test_a_remote_that_lets_nobody_in_is_told_once_and_again_when_it_does(
    hasty: Running, server: GitServer, repository: Path
) -> None:
    workspace = await imported(hasty, server, repository)
    await hasty.open_session(workspace)
    server.token = "changed-at-the-host-meanwhile"
    [failed] = await _next(hasty, workspace, behind=0)
    assert isinstance(failed, WorkspaceSyncFailed)
    assert failed.reason == "auth_required"

    server.token = TOKEN
    assert (await _next(hasty, workspace, behind=1))[1:] == [WorkspaceFetched(branches={})]


async def test_who_asks_is_told_as_before(hasty: Running, server: GitServer, repository: Path) -> None:
    workspace = await imported(hasty, server, repository)
    await hasty.open_session(workspace)
    reply = await hasty.ask(FetchWorkspace(workspace_id=workspace))
    assert reply.ok
    assert await _next(hasty, workspace, behind=0) == [WorkspaceFetched(branches={})]


async def test_only_those_are_fetched_that_somebody_works_with(
    service: Running, database_url: str, repository: Path
) -> None:
    await service.import_local(repository)
    used = await service.import_local(repository)
    session, _ = await service.open_session(used)
    database = Database(database_url, "workspace")
    try:
        await _shown(database, used)
        assert (await service.ask(RemoveWorktree(workspace_id=used, session_id=session))).ok
        await _shown(database)
    finally:
        await database.close()


async def _shown(database: Database, *workspaces: str) -> None:
    """Waits until the rows, which follow the log, have these workspaces in use and no others."""
    async with asyncio.timeout(20), database.session() as rows:
        while tuple(one.workspace for one in await workspaces_in_use(rows)) != workspaces:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
