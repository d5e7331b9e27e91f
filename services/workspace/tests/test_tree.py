"""Files are read and written inside the tree and nowhere else."""

import ctypes
import os
import socket
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runyard_workspace.adapters.git import Git
from runyard_workspace.adapters.listing import Listing
from runyard_workspace.adapters.tree import Changed, Missing, NotAFile, Tree, TreeError
from runyard_workspace.adapters.worktrees import Worktrees, place_of
from runyard_workspace.domain.paths import PathRefused, is_git_data, parse_folder, parse_path

from .conftest import git

LIMIT = 1024


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree, and beside it what must never be seen or changed."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text("SECRET")
    root = tmp_path / "tree"
    (root / "src").mkdir(parents=True)
    (root / "src" / "app.py").write_text("print('hi')\n")
    return root


def test_a_file_is_read_whole_or_in_parts(root: Path) -> None:
    tree = Tree(root)
    whole = tree.read(("src", "app.py"), limit=LIMIT)
    assert whole.content == b"print('hi')\n"
    assert whole.state.size == 12
    assert tree.read(("src", "app.py"), offset=6, limit=4).content == b"'hi'"
    assert tree.read(("src", "app.py"), offset=100, limit=4).content == b""


def test_a_link_is_never_followed(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (root / "file-link").symlink_to(outside / "secret.txt")
    (root / "folder-link").symlink_to(outside)
    (root / "inner-link").symlink_to("src/app.py")
    (root / "dangling").symlink_to(outside / "new.txt")
    (root / "loop").symlink_to("loop")
    tree = Tree(root)
    for parts in (
        ("file-link",), ("folder-link", "secret.txt"), ("inner-link",), ("dangling",), ("loop",), ("loop", "x"),
    ):  # fmt: skip
        with pytest.raises(TreeError):
            tree.read(parts, limit=LIMIT)
        with pytest.raises(NotAFile):
            tree.write(parts, b"overwritten")
    assert (outside / "secret.txt").read_text() == "SECRET"
    assert [path.name for path in outside.iterdir()] == ["secret.txt"]


def test_a_link_in_place_of_the_tree_itself_is_not_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "sessions").mkdir()
    (tmp_path / "sessions" / "one").symlink_to(tmp_path / "outside")
    with pytest.raises(NotAFile):
        Tree(tmp_path, ("sessions", "one")).read(("secret.txt",), limit=LIMIT)
    with pytest.raises(Missing):
        Tree(tmp_path, ("sessions", "two")).write(("new.txt",), b"x")
    assert not (tmp_path / "sessions" / "two").exists()


def test_pipes_sockets_devices_and_folders_are_no_files(root: Path) -> None:
    os.mkfifo(root / "pipe")
    listener = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(root)  # the path of a socket is short
    try:
        listener.bind("socket")
    finally:
        os.chdir(here)
    names = ["pipe", "socket", "src"]
    try:
        os.mknod(root / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
        names.append("zero")
    except PermissionError:
        pass  # only root may make devices
    tree = Tree(root)
    for name in names:
        with pytest.raises(NotAFile):
            tree.read((name,), limit=LIMIT)
        with pytest.raises(NotAFile):
            tree.write((name,), b"x")
    listener.close()


def test_a_path_through_a_file_is_refused(root: Path) -> None:
    with pytest.raises(NotAFile):
        Tree(root).read(("src", "app.py", "x"), limit=LIMIT)
    with pytest.raises(NotAFile):
        Tree(root).write(("src", "app.py", "x"), b"x")


def test_a_write_makes_folders_and_replaces_the_file_in_one_step(root: Path) -> None:
    tree = Tree(root)
    state, created = tree.write(("a", "b", "c.txt"), b"one")
    assert created
    assert (root / "a/b/c.txt").read_bytes() == b"one"
    assert state == tree.state(("a", "b", "c.txt"))
    before = (root / "a/b/c.txt").stat().st_ino
    _, created = tree.write(("a", "b", "c.txt"), b"two")
    assert not created
    assert (root / "a/b/c.txt").stat().st_ino != before
    assert [path.name for path in (root / "a/b").iterdir()] == ["c.txt"]


def test_a_write_keeps_the_executable_bit(root: Path) -> None:
    (root / "src/app.py").chmod(0o755)
    Tree(root).write(("src", "app.py"), b"#!/bin/sh\n")
    assert os.access(root / "src/app.py", os.X_OK)


def test_a_write_does_not_reach_through_a_hard_link(root: Path, tmp_path: Path) -> None:
    (root / "twin").hardlink_to(tmp_path / "outside" / "secret.txt")
    Tree(root).write(("twin",), b"mine")
    assert (tmp_path / "outside" / "secret.txt").read_text() == "SECRET"


def test_a_write_on_a_changed_file_is_refused(root: Path) -> None:
    tree = Tree(root)
    tag = tree.state(("src", "app.py")).etag
    (root / "src/app.py").write_text("changed by the agent")
    with pytest.raises(Changed):
        tree.write(("src", "app.py"), b"x", if_match=tag)
    with pytest.raises(Changed):
        tree.write(("new",), b"x", if_match="*")
    with pytest.raises(Changed):
        tree.write(("src", "app.py"), b"x", only_new=True)
    tree.write(("src", "app.py"), b"x", if_match=tree.state(("src", "app.py")).etag)
    assert (root / "src/app.py").read_text() == "x"
    assert not list(root.rglob("*.tmp"))


def test_names_that_the_disk_cannot_hold_are_missing(root: Path) -> None:
    with pytest.raises(Missing):
        Tree(root).read(("x" * 300,), limit=LIMIT)


def test_a_race_with_a_link_never_reads_or_writes_outside(root: Path, tmp_path: Path) -> None:
    """An agent swaps a folder and a link to the outside as fast as it can."""
    outside = tmp_path / "outside"
    (outside / "app.py").write_text("SECRET")
    (root / "swap").mkdir()
    (root / "swap" / "app.py").write_text("mine")
    (root / "link").symlink_to(outside)
    stop = threading.Event()
    exchange = ctypes.CDLL(None).renameat2
    names = (-100, os.fsencode(root / "swap"), -100, os.fsencode(root / "link"), 2)  # RENAME_EXCHANGE

    def swap() -> None:
        while not stop.is_set():
            exchange(*names)

    assert exchange(*names) == 0
    agent = threading.Thread(target=swap)
    agent.start()
    try:
        tree = Tree(root)
        for number in range(1500):
            try:
                assert tree.read(("swap", "app.py"), limit=LIMIT).content != b"SECRET"
                tree.write(("swap", f"w{number % 7}"), b"written")
            except TreeError:
                continue
    finally:
        stop.set()
        agent.join()
    assert sorted(path.name for path in outside.iterdir()) == ["app.py", "secret.txt"]


REFUSED = [
    "", ".", "..", "/", "/etc/passwd", "../x", "a/../x", "a/..", "a//b", "a/./b", "./a", "a/", "//a",
    ".git", ".git/config", "a/.git/hooks/pre-commit", ".GIT/config", ".Git", ".git.", ".git ", "GIT~1/config",
    ".git::$INDEX_ALLOCATION/config", ".g\u200cit/config", "a\0b", "x" * 256, "a/" * 2100 + "b",
]  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_a_path_that_could_lead_elsewhere_is_refused(text: str) -> None:
    with pytest.raises(PathRefused):
        parse_path(text)


@pytest.mark.parametrize(
    "text", ["a", "a/b", ".github/workflows/x.yml", ".gitignore", "a b", "git", "...", "..a", "-x", "a\\b", "ü"]
)
def test_an_ordinary_path_is_taken_as_it_is(text: str) -> None:
    assert "/".join(parse_path(text)) == text


def test_a_folder_may_be_the_tree_itself_or_end_in_a_slash() -> None:
    assert parse_folder("") == ()
    assert parse_folder(".") == ()
    assert parse_folder("src/") == ("src",)
    with pytest.raises(PathRefused):
        parse_folder("/")


pieces = st.one_of(
    st.sampled_from(["..", ".", "", ".git", ".GIT", "a", "src", "~", "\\", "...", " ", "C:", "%2e%2e", "\u200c.git"]),
    st.text(max_size=8),
)


@given(st.lists(pieces, max_size=6).map("/".join))
@example("a/b/../../../etc/passwd")
def test_an_accepted_path_stays_below_the_tree(text: str) -> None:
    try:
        parts = parse_path(text)
    except PathRefused:
        return
    joined = os.path.normpath(os.path.join("/tree", *parts))  # noqa: PTH118 - as the system would see it
    assert joined.startswith("/tree/")
    assert len(parts) == joined.count("/") - 1
    assert not any(is_git_data(part) for part in parts)
    assert "\0" not in text


@given(st.text(), st.integers(0, 3))
def test_writing_what_is_accepted_can_be_read_back(
    tmp_path_factory: pytest.TempPathFactory, text: str, depth: int
) -> None:
    tree = Tree(tmp_path_factory.getbasetemp())
    try:
        parts = parse_path("/".join(["deep"] * depth + [text]))
        tree.write(("hypothesis", *parts), b"content")
    except (PathRefused, TreeError, UnicodeEncodeError):
        return
    assert tree.read(("hypothesis", *parts), limit=LIMIT).content == b"content"


async def test_a_list_has_what_git_would_keep_in_pages(repository: Path, tmp_path: Path) -> None:
    (repository / ".gitignore").write_text("*.log\nbuild/\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "Ignore")
    opened = await Worktrees(Git()).open(repository, tmp_path / "w" / "s1", "s1")
    path = opened.path
    (path / "noise.log").write_text("x")
    (path / "build").mkdir()
    (path / "build" / "out").write_text("x")
    (path / "new.txt").write_text("four")
    (path / "README.md").unlink()
    (path / "link").symlink_to("/etc/passwd")
    at, tree, listing = place_of(repository, path), Tree(path), Listing(Git())

    async def names(
        *, ignored: bool = False, folder: tuple[str, ...] = (), after: str | None = None, limit: int = 50
    ) -> list[str]:
        page = await listing.page(at, tree, folder=folder, ignored=ignored, after=after, limit=limit)
        return [one.path for one in page.entries]

    assert await names() == [".gitignore", "link", "new.txt", "src/app.py"]
    assert await names(ignored=True) == [".gitignore", "build/out", "link", "new.txt", "noise.log", "src/app.py"]
    assert await names(folder=("src",)) == ["src/app.py"]
    assert await names(folder=("sr",)) == []
    page = await listing.page(at, tree, folder=(), ignored=False, after=None, limit=2)
    assert page.next_after == "link"
    assert {one.path: (one.kind, one.size) for one in page.entries} == {
        ".gitignore": ("file", 13),
        "link": ("symlink", 0),
    }
    rest = await listing.page(at, tree, folder=(), ignored=False, after=page.next_after, limit=50)
    assert [one.path for one in rest.entries] == ["new.txt", "src/app.py"]
    assert rest.next_after is None
