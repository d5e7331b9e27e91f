"""A container that has been taken over writes whatever it likes where it may: the host must not believe any of it."""

import asyncio
import contextlib
import hashlib
import os
import zlib
from pathlib import Path
from typing import Literal

import pytest

from runyard_events.catalogue import CommitsRefused, CommitsTaken
from runyard_events.commands import OpenPreviewTree
from runyard_workspace.adapters.clean_room import CleanRooms
from runyard_workspace.adapters.git import Git
from runyard_workspace.adapters.git_folder import GitFolder
from runyard_workspace.adapters.staging import Staging
from runyard_workspace.adapters.takeover import NotTaken, TakeLimits, Takeover
from runyard_workspace.adapters.tree import Changed, TreeError

from .conftest import Running, git, make_repository
from .test_sandboxes import Container, contained

OTHER = "an object of somebody else\n"


@pytest.fixture
async def container(service: Running, repository: Path) -> Container:
    return await contained(service, repository)


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


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """The repository of somebody else on the same host."""
    return make_repository(tmp_path / "others", {"secret.txt": OTHER}) / ".git"


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


def _loose(container: Container, kind: str, content: bytes) -> str:
    """Puts an object into the container's directory, whatever it is."""
    raw = f"{kind} {len(content)}\0".encode() + content
    name = hashlib.sha1(raw, usedforsecurity=False).hexdigest()
    _raw(container, name, zlib.compress(raw))
    return name


def _raw(container: Container, name: str, data: bytes) -> None:
    path = container.private / "objects" / name[:2] / name[2:]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)


def _commit_of(container: Container, tree: str, parent: str | None = None) -> str:
    who = "Eve <eve@example.com> 1700000000 +0000"
    above = f"parent {parent}\n" if parent else ""
    commit = _loose(container, "commit", f"tree {tree}\n{above}author {who}\ncommitter {who}\n\nEvil\n".encode())
    _point(container, commit)
    return commit


def _point(container: Container, commit: str) -> None:
    ref = container.private / "refs" / "heads" / container.branch
    ref.parent.mkdir(parents=True, exist_ok=True)
    ref.write_text(f"{commit}\n")


def _entry(mode: str, name: str, object_id: str) -> bytes:
    return f"{mode} {name}\0".encode() + bytes.fromhex(object_id)


async def _refused(container: Container, reason: Literal["damaged", "too_large"]) -> CommitsRefused:
    before = container.ours()
    await container.end_run()
    said = await container.said()
    (refused,) = said
    assert isinstance(refused, CommitsRefused), refused
    assert refused.reason == reason, refused
    assert container.ours() == before
    # The next container begins anew, with the branch as it is; and nothing bad has got into the repository.
    assert container.git("rev-parse", "HEAD") == before
    git(container.repo, "fsck", "--strict")
    return refused


@pytest.mark.parametrize("way", ["alternates", "link to object", "link to folder", "link to objects", "link to pack"])
async def test_objects_of_somebody_else_on_the_host_cannot_be_had(container: Container, others: Path, way: str) -> None:
    blob = git(others, "rev-parse", "HEAD:secret.txt")
    objects = container.private / "objects"
    commit = _commit_of(container, _loose(container, "tree", _entry("100644", "mine.txt", blob)), container.ours())
    (objects / blob[:2]).mkdir(exist_ok=True)
    if way == "alternates":
        with (objects / "info" / "alternates").open("a") as alternates:
            alternates.write(f"{others}/objects\n")
    elif way == "link to object":
        (objects / blob[:2] / blob[2:]).symlink_to(others / "objects" / blob[:2] / blob[2:])
    elif way == "link to folder":
        for left in (objects / blob[:2]).iterdir():
            left.rename(others / "objects" / blob[:2] / left.name)
        (objects / blob[:2]).rmdir()
        (objects / blob[:2]).symlink_to(others / "objects" / blob[:2])
    elif way == "link to objects":
        for made in objects.glob("??/*"):
            target = others / "objects" / made.parent.name / made.name
            target.parent.mkdir(exist_ok=True)
            made.rename(target)
        objects.rename(objects.with_name("former"))
        objects.symlink_to(others / "objects")
    else:
        git(others, "repack", "-a", "-d", "-q")
        for pack in (others / "objects" / "pack").iterdir():
            (objects / "pack" / pack.name).symlink_to(pack)
    # The container itself could read it only where it can see the other's folder; here it can, as the host.
    assert container.git("cat-file", "-t", commit) == "commit"
    await _refused(container, "damaged")
    with pytest.raises(Exception, match="non-zero exit status"):
        git(container.repo, "cat-file", "-e", blob)


def _link(path: Path, target: Path) -> None:
    if path.is_dir():
        path.rename(path.with_name("former"))
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize("name", ["refs/heads/{branch}", "refs/heads/runyard", "refs/heads", "refs", "packed-refs"])
async def test_links_in_the_place_of_refs_are_not_followed(container: Container, others: Path, name: str) -> None:
    """What they lead to is no branch of the session, though it has the same name there."""
    git(others, "update-ref", f"refs/heads/{container.branch}", "HEAD")
    if name == "packed-refs":
        git(others, "pack-refs", "--all")
        (container.private / "refs" / "heads" / container.branch).unlink(missing_ok=True)
    before = container.ours()
    _link(container.private / name.format(branch=container.branch), others / name.format(branch=container.branch))
    await container.end_run()
    assert container.ours() == before
    assert not any(isinstance(one, CommitsTaken) for one in await container.said())


@pytest.mark.parametrize("where", ["refs/heads/{branch}", "packed-refs", "HEAD", "objects/aa/" + "b" * 38, "index"])
async def test_nothing_waits_for_a_pipe(container: Container, where: str) -> None:
    commit = container.commit("a.txt") if where.startswith("objects") else None
    path = container.private / where.format(branch=container.branch)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    async with asyncio.timeout(20):
        await container.end_run()
    if commit:
        assert isinstance((await container.said())[0], CommitsRefused)


@pytest.mark.parametrize("kind", ["blob", "tree", "tag"])
async def test_a_branch_that_is_no_commit_is_refused(container: Container, kind: str) -> None:
    tree = container.git("rev-parse", "HEAD^{tree}")
    objects = {
        "blob": lambda: _loose(container, "blob", b"x"),
        "tree": lambda: tree,
        "tag": lambda: _loose(
            container,
            "tag",
            f"object {container.ours()}\ntype commit\ntag x\ntagger E <e@e> 1 +0000\n\nx\n".encode(),
        ),
    }
    _point(container, objects[kind]())
    await _refused(container, "damaged")


@pytest.mark.parametrize("content", ["ref: refs/heads/main", "0" * 40, "not a commit", "deadbeef", "", "x" * 5000])
async def test_a_branch_that_is_no_branch_is_passed_over(container: Container, content: str) -> None:
    before = container.ours()
    _point(container, content)
    await container.end_run()
    assert container.ours() == before
    assert not any(isinstance(one, CommitsTaken) for one in await container.said())
    assert container.git("rev-parse", "HEAD") == before


@pytest.mark.parametrize("name", [".git", "..", ".GIT", "a/b", "git~1"])
async def test_trees_with_names_that_lead_elsewhere_are_refused(container: Container, name: str) -> None:
    blob = _loose(container, "blob", b"[core]\n\tfsmonitor = evil\n")
    inner = _loose(container, "tree", _entry("100644", "config", blob))
    entry = _entry("100644", name, blob) if "/" in name else _entry("40000", name, inner)
    _commit_of(container, _loose(container, "tree", entry), container.ours())
    await _refused(container, "damaged")


@pytest.mark.parametrize(
    "modules",
    ['[submodule "x"]\n\tpath = x\n\turl = -u./payload\n', '[submodule "../../x"]\n\tpath = x\n\turl = https://x/y\n'],
)
async def test_submodules_that_would_run_something_are_refused(container: Container, modules: str) -> None:
    blob = _loose(container, "blob", modules.encode())
    tree = _loose(container, "tree", _entry("100644", ".gitmodules", blob))
    _commit_of(container, tree, container.ours())
    await _refused(container, "damaged")


async def test_an_object_that_is_not_what_its_name_says_is_refused(container: Container) -> None:
    commit = container.commit("a.txt", "harmless\n")
    blob = container.git("rev-parse", "HEAD:a.txt")
    (container.private / "objects" / blob[:2] / blob[2:]).unlink()
    (container.path / "a.txt").unlink()  # or else the checkpoint of the run would have brought the right one
    _raw(container, blob, zlib.compress(b"blob 5\0evil\n"))
    refused = await _refused(container, "damaged")
    assert refused.commit == commit


async def test_missing_objects_are_noticed_however_often_it_is_tried(container: Container) -> None:
    tree = _loose(container, "tree", _entry("100644", "gone.txt", "ab" * 20))
    commit = _commit_of(container, tree, container.ours())
    await _refused(container, "damaged")
    _loose(container, "tree", _entry("100644", "gone.txt", "ab" * 20))
    assert _commit_of(container, tree, container.ours()) == commit
    await container.end_run()
    # Said once for one and the same commit.
    assert len(await container.said()) == 1
    assert container.ours() != commit


@pytest.mark.parametrize("said", [10**11, 101 * 1024**2])
async def test_an_object_that_says_it_is_huge_is_not_unpacked(container: Container, said: int) -> None:
    container.commit("a.txt")
    _raw(container, "cd" * 20, zlib.compress(f"blob {said}\0".encode() + b"x" * 100))
    await _refused(container, "too_large")


async def test_an_object_that_is_longer_than_it_says_is_refused(container: Container) -> None:
    commit = container.commit("a.txt", "harmless\n")
    blob = container.git("rev-parse", "HEAD:a.txt")
    (container.private / "objects" / blob[:2] / blob[2:]).unlink()
    (container.path / "a.txt").unlink()  # or else the checkpoint of the run would have brought the right one
    _raw(container, blob, zlib.compress(b"blob 9\0harmless\n" + bytes(10_000_000)))
    assert (await _refused(container, "damaged")).commit == commit


async def _bring(container: Container, commit: str, limits: TakeLimits, tmp_path: Path) -> None:
    ours = Git()
    takeover = Takeover(ours, CleanRooms(ours, Staging(tmp_path / "scratch")), limits)
    await takeover.bring(commit, GitFolder(container.private), container.repo / ".git")


@pytest.mark.parametrize(
    "limits",
    [
        TakeLimits(objects=2),
        TakeLimits(object_bytes=5000),
        TakeLimits(total_bytes=12_000),
        TakeLimits(copied_bytes=100),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
async def test_limits_hold_for_loose_objects_and_for_packs(
    container: Container, tmp_path: Path, limits: TakeLimits, *, packed: bool
) -> None:
    container.commit("a.txt", "a" * 8000)
    commit = container.commit("b.txt", "b" * 8000)
    if packed:
        container.git("repack", "-a", "-d", "-l", "-q")
    refused: NotTaken | None = None
    try:
        await _bring(container, commit, limits, tmp_path)
    except NotTaken as error:
        refused = error
    if packed and limits.objects == 2:
        assert refused is None  # a pack is one file
    else:
        assert refused
        assert refused.reason == "too_large"
    assert not list((tmp_path / "scratch").iterdir())


async def test_a_pack_with_an_index_that_lies_is_read_for_itself(container: Container, tmp_path: Path) -> None:
    commit = container.commit("a.txt")
    container.git("repack", "-a", "-d", "-l", "-q")
    for index in container.private.glob("objects/pack/*.idx"):
        index.chmod(0o644)
        index.write_bytes(b"\377tOc" + bytes(2000))
    await _bring(container, commit, TakeLimits(), tmp_path)
    assert git(container.repo, "cat-file", "-t", commit) == "commit"


async def test_a_check_that_never_ends_is_given_up(container: Container, tmp_path: Path) -> None:
    commit = container.commit("a.txt")
    with pytest.raises(NotTaken) as refused:
        await _bring(container, commit, TakeLimits(seconds=0.001), tmp_path)
    assert refused.value.reason == "timeout"


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
