"""Files for previews: a branch's own tree, beside those of the sessions."""

import asyncio
import os
from pathlib import Path

import pytest
from nats.aio.client import Client

from runyard_events import Reply, new_id
from runyard_events.commands import OpenPreviewTree, RemovePreviewTree
from runyard_workspace.adapters.owners import Owner, give
from runyard_workspace.settings import Settings

from .conftest import Running, git, running


async def _open(service: Running, workspace: str, preview: str, branch: str | None = None, **more: str) -> Reply:
    return await service.ask(
        OpenPreviewTree(workspace_id=workspace, preview_id=preview, branch=branch, owner=more.get("owner"))
    )


def _owners(path: Path) -> set[int]:
    return {one.lstat().st_uid for one in (path, *path.rglob("*"))}


async def test_a_preview_gets_the_files_of_a_remote_branch_and_of_the_checked_out_one(
    service: Running, repository: Path
) -> None:
    git(repository, "branch", "feature")
    git(repository, "checkout", "-q", "feature")
    (repository / "new.txt").write_text("new\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "More")
    git(repository, "checkout", "-q", "main")
    workspace = await service.import_local(repository)
    feature, main = await asyncio.gather(
        _open(service, workspace, new_id(), "feature"), _open(service, workspace, new_id())
    )
    assert (feature.result["branch"], main.result["branch"]) == ("feature", "main")
    assert feature.result["commit"] == git(repository, "rev-parse", "feature")
    assert (Path(feature.result["path"]) / "new.txt").read_text() == "new\n"
    assert (Path(main.result["path"]) / "README.md").exists()
    assert not (Path(main.result["path"]) / "new.txt").exists()


async def test_a_preview_of_a_session_s_branch_shows_its_commits(service: Running, repository: Path) -> None:
    workspace = await service.import_local(repository)
    _, path = await service.open_session(workspace)
    (path / "a.txt").write_text("a\n")
    git(path, "add", "-A")
    git(path, "commit", "-q", "-m", "A")
    opened = await _open(service, workspace, new_id(), git(path, "rev-parse", "--abbrev-ref", "HEAD"))
    assert opened.result["commit"] == git(path, "rev-parse", "HEAD")
    assert (Path(opened.result["path"]) / "a.txt").exists()


async def test_asked_again_a_preview_s_files_stay_until_the_branch_has_moved(
    service: Running, settings: Settings, nats_client: Client, repository: Path
) -> None:
    workspace = await service.import_local(repository)
    _, path = await service.open_session(workspace)
    branch, preview = git(path, "rev-parse", "--abbrev-ref", "HEAD"), new_id()
    first = await _open(service, workspace, preview, branch)
    built = Path(first.result["path"]) / "node_modules"
    built.mkdir()
    async with running(settings, nats_client, service.tenant) as restarted:
        again = await _open(restarted, workspace, preview, branch)
        assert again.result == first.result
        assert built.exists()
        git(path, "commit", "-q", "--allow-empty", "-m", "Move")
        moved = await _open(restarted, workspace, preview, branch)
    assert moved.result["commit"] == git(path, "rev-parse", "HEAD")
    assert moved.result["path"] == first.result["path"]
    assert not built.exists()


async def test_a_tree_that_was_not_finished_is_made_anew(service: Running, repository: Path) -> None:
    workspace, preview = await service.import_local(repository), new_id()
    opened = await _open(service, workspace, preview)
    path = Path(opened.result["path"])
    record = service.root / workspace / "repo" / ".git" / "worktrees" / path.name
    (record / "locked").write_text("initializing")
    (path / "README.md").unlink()
    again = await _open(service, workspace, preview)
    assert again.result == opened.result
    assert (path / "README.md").exists()
    assert not (record / "locked").exists()


async def test_a_preview_s_files_are_removed_with_their_record_and_nothing_else(
    service: Running, repository: Path
) -> None:
    workspace = await service.import_local(repository)
    session, worktree = await service.open_session(workspace)
    # The id of a session: its worktree has to stay.
    await _open(service, workspace, session)
    for _ in range(2):
        removed = await service.ask(RemovePreviewTree(workspace_id=workspace, preview_id=session))
        assert removed.ok
    assert not (service.root / workspace / "previews" / f"preview-{session}").exists()
    assert (worktree / "README.md").exists()
    assert git(worktree, "status", "--porcelain") == ""
    listed = git(service.root / workspace / "repo", "worktree", "list")
    assert len(listed.splitlines()) == 2
    gone = await service.ask(RemovePreviewTree(workspace_id=new_id(), preview_id=session))
    assert gone.ok


@pytest.mark.parametrize("branch", ["nothing", "main~0", "main^{commit}", "../main", "-h", "main\nHEAD", "", "*"])
async def test_only_a_branch_s_exact_name_is_taken(service: Running, repository: Path, branch: str) -> None:
    workspace = await service.import_local(repository)
    refused = await _open(service, workspace, new_id(), branch)
    assert refused.problem
    assert (refused.problem.status, refused.problem.type) == (404, "branch-not-found")


async def test_another_tenant_s_workspace_and_strange_ids_get_nothing(service: Running, repository: Path) -> None:
    workspace = await service.import_local(repository)
    other = await service.ask(OpenPreviewTree(workspace_id=workspace, preview_id=new_id()), tenant=new_id())
    assert other.problem
    assert other.problem.type == "workspace-not-found"
    strange = await _open(service, workspace, "../../x")
    assert strange.problem
    assert strange.problem.type == "preview-id"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
async def test_a_preview_s_files_belong_to_its_container(service: Running, repository: Path) -> None:
    workspace = await service.import_local(repository)
    opened = await _open(service, workspace, new_id(), owner="10001:10001")
    assert _owners(Path(opened.result["path"])) == {10001}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_giving_a_tree_away_follows_no_link(tmp_path: Path) -> None:
    outside, tree = tmp_path / "outside", tmp_path / "tree"
    (outside / "inner").mkdir(parents=True)
    (tree / "folder").mkdir(parents=True)
    (tree / "file").symlink_to(outside / "inner")
    (tree / "folder" / "link").symlink_to(outside)
    assert give(tree, Owner(10001, 10001)) == 4
    assert give(tree, Owner(10001, 10001)) == 0
    assert {one.lstat().st_uid for one in (outside, outside / "inner")} == {os.geteuid()}
