"""Workspaces brought up to date with a real Git server, and imports that nobody ends."""

import asyncio
import threading
from contextlib import AsyncExitStack
from pathlib import Path

from nats.aio.client import Client

from runyard_events import new_id
from runyard_events.catalogue import (
    WorkspaceFetched,
    WorkspaceImportFailed,
    WorkspaceSyncFailed,
)
from runyard_events.commands import (
    FetchWorkspace,
)
from runyard_events.subjects import workspace_subject
from runyard_workspace.settings import Settings

from .conftest import Running, git, import_of, running
from .remote_servers import TOKEN, GitServer, git_server
from .remote_service import imported, push


async def test_a_fetch_brings_new_moved_and_deleted_branches_and_tags(
    remote: Running, server: GitServer, repository: Path
) -> None:
    git(repository, "branch", "old")
    git(repository, "branch", "a")
    workspace = await imported(remote, server, repository)
    bare = server.bare("org/repo")
    git(bare, "branch", "-D", "old")
    git(bare, "branch", "-D", "a")
    git(bare, "branch", "a/b", "main")
    (repository / "more.txt").write_text("more\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "More")
    git(repository, "tag", "v1")
    git(repository, "push", "-q", str(bare), "main", "v1")
    moved = git(repository, "rev-parse", "main")
    reply = await remote.ask(FetchWorkspace(workspace_id=workspace))
    assert reply.ok, reply.problem
    expected = {"a": "", "a/b": git(bare, "rev-parse", "a/b"), "main": moved, "old": ""}
    assert reply.result["branches"] == expected
    events = await remote.events(workspace_subject(remote.tenant, workspace, "lifecycle"))
    assert events[-1].event.payload == WorkspaceFetched(branches=expected)
    copy = remote.root / workspace / "repo"
    refs = git(copy, "for-each-ref", "--format=%(refname:lstrip=1)", "refs/remotes", "refs/tags").splitlines()
    assert refs == ["remotes/origin/HEAD", "remotes/origin/a/b", "remotes/origin/main", "tags/v1"]
    git(copy, "fsck", "--strict")
    # A session that is opened now begins there, one of before stays where it is.
    _, path = await remote.open_session(workspace)
    assert git(path, "rev-parse", "HEAD") == moved
    again = await remote.ask(FetchWorkspace(workspace_id=workspace))
    assert again.result["branches"] == {}
    every = await remote.events(workspace_subject(remote.tenant, workspace, "*"))
    assert sorted(one.event.seq for one in every) == list(range(1, len(every) + 1))


async def test_a_local_repository_is_fetched_from_as_well(remote: Running, repository: Path) -> None:
    workspace = await remote.import_local(repository)
    git(repository, "commit", "-q", "--allow-empty", "-m", "More")
    reply = await remote.ask(FetchWorkspace(workspace_id=workspace))
    assert reply.result["branches"] == {"main": git(repository, "rev-parse", "main")}


async def test_fetches_at_once_do_not_disturb_each_other(remote: Running, server: GitServer, repository: Path) -> None:
    workspace = await imported(remote, server, repository)
    git(server.bare("org/repo"), "branch", "b", "main")
    replies = await asyncio.gather(*(remote.ask(FetchWorkspace(workspace_id=workspace)) for _ in range(4)))
    assert sum(len(one.result["branches"]) for one in replies) == 1


async def _sync_failed(service: Running, workspace: str) -> WorkspaceSyncFailed:
    events = await service.events(workspace_subject(service.tenant, workspace, "lifecycle"))
    assert isinstance(events[-1].event.payload, WorkspaceSyncFailed)
    return events[-1].event.payload


async def test_a_fetch_that_is_not_let_in_says_so(remote: Running, server: GitServer, repository: Path) -> None:
    workspace = await imported(remote, server, repository)
    server.token = "changed-at-the-host-meanwhile"
    refused = await remote.ask(FetchWorkspace(workspace_id=workspace))
    assert refused.problem
    assert (refused.problem.status, refused.problem.type) == (422, "sync-auth-required")
    assert TOKEN not in str(refused)
    assert (await _sync_failed(remote, workspace)).reason == "auth_required"
    # Sessions can still be opened: the copy is as it was.
    await remote.open_session(workspace)


async def test_a_remote_that_is_gone_or_away_is_told_apart(remote: Running, tmp_path: Path, repository: Path) -> None:
    with git_server(tmp_path / "short") as server:
        workspace = await imported(remote, server, repository)
        server.bare("org/repo").rename(tmp_path / "moved")
        refused = await remote.ask(FetchWorkspace(workspace_id=workspace))
        assert refused.problem
        assert refused.problem.type == "sync-not-found"
    refused = await remote.ask(FetchWorkspace(workspace_id=workspace))
    assert refused.problem
    assert (refused.problem.status, refused.problem.type) == (502, "sync-unreachable")


async def test_a_remote_that_hangs_is_given_up_and_the_secret_is_nowhere_meanwhile(
    settings: Settings, nats_client: Client, tenant: str, server: GitServer, repository: Path
) -> None:
    own = settings.model_copy(update={"sync_timeout_seconds": 3.0})
    async with running(own, nats_client, tenant) as service:
        workspace = await imported(service, server, repository)
        server.hold = release = threading.Event()
        asking = asyncio.create_task(service.ask(FetchWorkspace(workspace_id=workspace)))
        assert await asyncio.to_thread(server.waiting.wait, 20)
        seen = await asyncio.to_thread(_processes)
        assert any("git-remote-http" in one or "remote-http" in one for one in seen)
        assert not any(TOKEN in one for one in seen)
        refused = await asking
        release.set()
        assert refused.problem
        assert (refused.problem.status, refused.problem.type) == (504, "sync-timeout")


def _processes() -> list[str]:
    """The arguments and the environment of every process there is."""
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                found.append((process / name).read_bytes().decode(errors="replace"))
            except OSError:
                continue
    return found


async def test_nothing_in_the_managed_copy_s_configuration_decides_where_to(
    remote: Running, server: GitServer, repository: Path, tmp_path: Path
) -> None:
    workspace = await imported(remote, server, repository)
    session, path = await remote.open_session(workspace)
    (path / "a.txt").write_text("a\n")
    common = remote.root / workspace / "repo" / ".git"
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\n")
    trap.chmod(0o755)
    (common / "hooks").mkdir(exist_ok=True)
    for hook in ("pre-push", "reference-transaction"):
        (common / "hooks" / hook).symlink_to(trap)
    with (common / "config").open("a") as config:
        config.write(
            f'[url "http://127.0.0.1:1/"]\n\tinsteadOf = {server.url}\n\tpushInsteadOf = {server.url}\n'
            f"[credential]\n\thelper = !{trap}\n[core]\n\tsshCommand = {trap}\n"
            f"\taskPass = {trap}\n\tfsmonitor = {trap}\n"
            f'[http]\n\tproxy = http://127.0.0.1:1\n\tsslVerify = false\n[remote "origin"]\n\tvcs = evil\n'
        )
    assert (await remote.ask(FetchWorkspace(workspace_id=workspace))).ok
    assert (await push(remote, workspace, session)).ok
    assert not (tmp_path / "sprung").exists()


async def test_an_import_that_nobody_is_at_work_on_is_ended(
    settings: Settings, nats_client: Client, tenant: str, server: GitServer, repository: Path
) -> None:
    address, workspace = server.add("org/repo", repository), new_id()
    release = threading.Event()
    server.token, server.hold = None, release
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(running(settings, nats_client, tenant))
        asking = asyncio.create_task(first.ask(import_of(address, workspace, "git")))
        assert await asyncio.to_thread(server.waiting.wait, 20)
        asking.cancel()
    jetstream = nats_client.jetstream()
    await jetstream.purge_stream("COMMANDS")
    own = settings.model_copy(update={"import_abandoned_seconds": 0.2})
    async with running(own, nats_client, tenant) as service:
        async for stored in service.log.follow(workspace_subject(tenant, workspace, "lifecycle"), from_seq=1):
            if isinstance(stored.event.payload, WorkspaceImportFailed):
                assert stored.event.payload.reason == "failed"
                break
        assert not (service.root / workspace / "repo").exists()
    release.set()
