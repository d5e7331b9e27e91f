"""Objects and refs that a container that has been taken over makes up: only sound commits are taken from it."""

import asyncio
import hashlib
import os
import zlib
from pathlib import Path
from typing import Literal

import pytest

from runyard_events.catalogue import CommitsRefused, CommitsTaken
from runyard_workspace.adapters.clean_room import CleanRooms
from runyard_workspace.adapters.git import Git
from runyard_workspace.adapters.git_folder import GitFolder
from runyard_workspace.adapters.staging import Staging
from runyard_workspace.adapters.takeover import NotTaken, TakeLimits, Takeover

from .conftest import git
from .containers import Container, container, others

__all__ = ["container", "others"]


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


def _commit_with(container: Container, data: bytes) -> str:
    """A sound commit of a file, with this in the place of the file's own object."""
    commit = container.commit("a.txt", "harmless\n")
    blob = container.git("rev-parse", "HEAD:a.txt")
    (container.private / "objects" / blob[:2] / blob[2:]).unlink()
    (container.path / "a.txt").unlink()  # or else the checkpoint of the run would have brought the right one
    _raw(container, blob, data)
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
    commit = _commit_with(container, zlib.compress(b"blob 5\0evil\n"))
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
    commit = _commit_with(container, zlib.compress(b"blob 9\0harmless\n" + bytes(10_000_000)))
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
