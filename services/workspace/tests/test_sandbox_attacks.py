"""A container that has been taken over writes whatever it likes where it may: the host must not believe any of it."""

import contextlib
from pathlib import Path

import pytest

from runyard_events.commands import OpenPreviewTree
from runyard_workspace.adapters.git_folder import GitFolder
from runyard_workspace.adapters.tree import Changed, TreeError

from .conftest import make_repository
from .containers import Container, container, others

__all__ = ["container", "others"]


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A program that leaves a mark when it is run."""
    program = tmp_path / "trap.sh"
    program.write_text(f'#!/bin/sh\necho "$0 $*" >> {tmp_path}/sprung\ncat\n')
    program.chmod(0o755)
    return program


def _assert_not_sprung(trap: Path) -> None:
    mark = trap.parent / "sprung"
    assert not mark.exists(), mark.read_text()


async def _use(container: Container) -> None:
    """Everything that the host does with a session's files."""
    service = container.service
    await container.end_run()
    for path in ("diff", "files"):
        answer = await service.http.get(f"/sessions/{container.session}/{path}", headers=service.headers())
        assert answer.status_code == 200, answer.text
    opened = await service.ask(
        OpenPreviewTree(workspace_id=container.workspace, preview_id="p", branch=container.branch)
    )
    assert opened.ok, opened.problem
    await container.release()
    await container.prepare()


def _evil_config(trap: Path, tmp_path: Path) -> str:
    included = tmp_path / "included"
    included.write_text(f"[core]\n\tfsmonitor = {trap}\n")
    return f"""
[include]
	path = {included}
[core]
	fsmonitor = {trap}
	sshCommand = {trap}
	gitProxy = {trap}
	askPass = {trap}
	pager = {trap}
	editor = {trap}
	hooksPath = {trap.parent}/hooks
	alternateRefsCommand = {trap}
	worktree = /
[alias]
	fetch = !{trap}
	index-pack = !{trap}
	rev-parse = !{trap}
[filter "x"]
	clean = {trap}
	smudge = {trap}
	process = {trap}
	required = true
[diff]
	external = {trap}
[diff "x"]
	textconv = {trap}
	command = {trap}
[merge "x"]
	driver = {trap}
[credential]
	helper = {trap}
[uploadpack]
	packObjectsHook = {trap}
	allowFilter = true
[gpg]
	program = {trap}
[pager]
	fetch = {trap}
[extensions]
	partialClone = evil
[remote "evil"]
	promisor = true
	url = ext::{trap}
	uploadpack = {trap}
	vcs = {trap}
[remote "origin"]
	uploadpack = {trap}
[url "ext::{trap} "]
	insteadOf = /
"""


async def test_its_configuration_and_hooks_are_never_used(container: Container, trap: Path, tmp_path: Path) -> None:
    (container.path / ".gitattributes").write_text("* filter=x diff=x merge=x\n")
    commit = container.commit("a.txt")
    hooks = container.private / "hooks"
    hooks.mkdir()
    (trap.parent / "hooks").mkdir()
    for name in ("reference-transaction", "post-checkout", "post-index-change", "update", "pre-receive", "post-update"):
        for folder in (hooks, trap.parent / "hooks"):
            (folder / name).symlink_to(trap)
    with (container.private / "config").open("a") as config:
        config.write(_evil_config(trap, tmp_path))
    (container.private / "config.worktree").write_text(_evil_config(trap, tmp_path))
    (container.path / "a.txt").write_text("changed\n")
    await _use(container)
    assert container.ours() == commit
    _assert_not_sprung(trap)


@pytest.mark.parametrize("shape", ["folder", "link", "pointer", "gone"])
async def test_a_worktree_s_git_file_is_not_believed_and_is_put_right(
    container: Container, trap: Path, tmp_path: Path, shape: str
) -> None:
    """It is read-only in the container; this is what an agent without one can do."""
    evil = make_repository(tmp_path / "evil")
    (evil / ".git" / "config").write_text(_evil_config(trap, tmp_path))
    dotgit = container.path / ".git"
    right = dotgit.read_text()
    dotgit.unlink()
    if shape == "folder":
        (evil / ".git").rename(dotgit)
    elif shape == "link":
        dotgit.symlink_to(evil / ".git")
    elif shape == "pointer":
        dotgit.write_text(f"gitdir: {evil}/.git\n")
    (container.path / "b.txt").write_text("b\n")
    await _use(container)
    assert not dotgit.is_symlink()
    assert dotgit.read_text() == right
    _assert_not_sprung(trap)


async def test_files_that_name_other_directories_lead_nowhere(container: Container, others: Path) -> None:
    commit = container.commit("a.txt")
    for name in ("commondir", "gitdir", "objects/info/http-alternates", "shallow", "info/grafts"):
        target = container.private / name
        target.parent.mkdir(exist_ok=True, parents=True)
        target.write_text(f"{others}\n")
    await _use(container)
    assert container.ours() == commit


async def test_a_nested_repository_s_configuration_is_not_used(
    container: Container, trap: Path, tmp_path: Path
) -> None:
    nested = make_repository(container.path / "nested")
    (nested / ".git" / "config").write_text("[core]\n\trepositoryformatversion = 0\n" + _evil_config(trap, tmp_path))
    await _use(container)
    _assert_not_sprung(trap)


def test_what_the_host_writes_there_follows_no_link_and_takes_git_s_lock(tmp_path: Path) -> None:
    folder, outside = tmp_path / "git", tmp_path / "outside"
    (folder / "refs" / "heads").mkdir(parents=True)
    outside.mkdir()
    old, new = "a" * 40, "b" * 40
    private = GitFolder(folder)
    (folder / "refs" / "heads" / "x").write_text(f"{old}\n")
    private.move_ref("refs/heads/x", new, old)
    assert private.ref("refs/heads/x") == new
    with pytest.raises(Changed):
        private.move_ref("refs/heads/x", new, old)
    (folder / "refs" / "heads" / "x.lock").touch()
    with pytest.raises(Changed):
        private.move_ref("refs/heads/x", old, new)
    (folder / "refs" / "heads" / "y").symlink_to(outside)
    with pytest.raises(TreeError):
        private.move_ref("refs/heads/y/z", new, old)
    (folder / "index").symlink_to(outside / "index")
    private.put_index(b"DIRC")
    assert (folder / "index").read_bytes() == b"DIRC"
    assert not (outside / "index").exists()
    with contextlib.suppress(FileNotFoundError):
        assert not list(outside.iterdir())
