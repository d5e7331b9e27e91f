"""What an agent puts in its worktree for Git to wait at ends soon, and is told."""

import asyncio
import contextlib
import fcntl
import os
import signal
import threading
import time
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest

from runyard_events.catalogue import CheckpointCreated, CheckpointFailed
from runyard_workspace.adapters import stalls
from runyard_workspace.adapters.git import Git, GitStalled
from runyard_workspace.adapters.listing import Listing
from runyard_workspace.adapters.tree import Tree

from .conftest import git
from .containers import Container, container
from .desks import Desk, desk

__all__ = ["container", "desk"]

SOON = 8.0
"""Seconds; the time-outs of what is tried here are 30 to 300."""


@pytest.fixture(autouse=True)
def _looks(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction] - pytest takes it
    """Looked at more often than otherwise, so that many stalls can be tried."""
    monkeypatch.setattr(stalls, "LOOK_SECONDS", 0.1)


@contextlib.asynccontextmanager
async def stalling(said: str) -> AsyncGenerator[None]:
    started = time.monotonic()
    with pytest.raises(GitStalled) as caught:
        yield
    assert time.monotonic() - started < SOON
    assert caught.value.last_words == said


def _pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)


def _nested_repository(folder: Path) -> Path:
    for name in ("objects", "refs"):
        (folder / ".git" / name).mkdir(parents=True)
    (folder / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    return folder / ".git"


@pytest.mark.parametrize(
    "name", [".gitignore", "src/.gitignore", ".gitattributes", "nested/.git/HEAD", "sub/.git/HEAD"]
)
async def test_a_checkpoint_does_not_wait_for_a_pipe(desk: Desk, name: str) -> None:
    if "nested" in name:
        _nested_repository(desk.path / "nested")
    if "sub" in name:
        git(desk.path, "update-index", "--add", "--cacheinfo", f"160000,{desk.base},sub")
        _nested_repository(desk.path / "sub")
    (desk.path / "README.md").write_text("changed\n")
    _pipe(desk.path / name)
    async with stalling(f"Git waited for a pipe: {name}"):
        await desk.keep()


@pytest.mark.parametrize("name", [".gitignore", "src/.gitignore", "nested/.git/HEAD"])
async def test_a_list_of_files_does_not_wait_for_a_pipe(desk: Desk, name: str) -> None:
    _nested_repository(desk.path / "nested")
    _pipe(desk.path / name)
    async with stalling(f"Git waited for a pipe: {name}"):
        await Listing(Git()).page(desk.at, Tree(desk.path), folder=(), ignored=False, after=None, limit=10)


async def test_a_comparison_of_commits_does_not_look_at_the_worktree(desk: Desk) -> None:
    (desk.path / "src" / "app.py").write_text("changed\n")
    kept = await desk.keep()
    for folder in (desk.path, desk.path / "src"):
        _pipe(folder / ".gitattributes")
    async with asyncio.timeout(SOON):
        assert "+changed" in (await desk.diffs.between(desk.at, kept.parent, kept.commit)).patch


@contextlib.contextmanager
def _fed(path: Path) -> Generator[None]:
    """Whoever reads this pipe is given ever more, and never its end."""
    over = threading.Event()
    pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def feed() -> None:
        while not over.wait(0.001):
            with contextlib.suppress(BlockingIOError):
                os.write(pipe, b"# more\n" * 500)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        yield
    finally:
        over.set()
        feeder.join()
        os.close(pipe)


async def test_git_does_not_go_on_reading_a_pipe_that_somebody_feeds(desk: Desk) -> None:
    _pipe(desk.path / ".gitattributes")
    (desk.path / "README.md").write_text("# Hallo\n")
    with _fed(desk.path / ".gitattributes"):
        async with stalling("Git waited for a pipe: .gitattributes"):
            await Git().output("update-index", "-q", "--refresh", at=desk.at)


async def test_git_does_not_wait_for_a_file_that_somebody_holds(desk: Desk) -> None:
    """The kernel keeps whoever opens a file with a lease on it waiting, 45 seconds by default."""
    ignored = desk.path / ".gitignore"
    ignored.write_text("*.log\n")
    file = os.open(ignored, os.O_RDWR)
    # Its holder is told by a signal, which would end the tests.
    with _no_signal():
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        try:
            async with stalling("Git waited for a file that somebody holds"):
                await desk.keep()
        finally:
            os.close(file)


@contextlib.contextmanager
def _no_signal() -> Generator[None]:
    former = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGIO, former)


async def test_git_at_work_is_left_alone(desk: Desk, tmp_path: Path) -> None:
    """However long it takes: only one that does nothing is stopped."""
    busy = tmp_path / "busy"
    busy.write_text("#!/bin/sh\ni=0; while [ $i -lt 600000 ]; do i=$((i+1)); done\nsleep 0.3\necho done\n")
    busy.chmod(0o755)
    assert await Git(str(busy)).text("ls-files", at=desk.at) == "done"


async def test_a_run_ends_with_an_event_that_names_the_pipe(container: Container) -> None:
    _pipe(container.path / ".gitignore")
    async with asyncio.timeout(SOON * 2):
        failed = (await container.end_run()).event.payload
    assert isinstance(failed, CheckpointFailed)
    assert (failed.reason, failed.message) == ("timeout", "Git waited for a pipe: .gitignore")
    (container.path / ".gitignore").unlink()
    assert isinstance((await container.end_run()).event.payload, CheckpointCreated)


@pytest.mark.parametrize("query", ["files", "diff"])
async def test_who_asks_is_told_about_the_pipe(container: Container, query: str) -> None:
    _pipe(container.path / ".gitignore")
    async with asyncio.timeout(SOON):
        answer = await container.service.http.get(
            f"/sessions/{container.session}/{query}", headers=container.service.headers()
        )
    assert answer.status_code == 409
    assert answer.json()["type"] == "worktree-unreadable"
    assert answer.json()["detail"] == "Git waited for a pipe: .gitignore."


async def test_pipes_of_one_session_do_not_keep_the_others_waiting(container: Container) -> None:
    _pipe(container.path / ".gitignore")
    ends = [asyncio.ensure_future(container.service.finish_run(container.session)) for _ in range(4)]
    session, _ = await container.service.open_session(container.workspace)
    async with asyncio.timeout(SOON):
        other = await container.service.finish_run(session)
    assert isinstance(other.event.payload, CheckpointCreated)
    assert not ends[-1].done()
    await asyncio.gather(*ends)


async def test_a_session_comes_out_of_its_container_in_spite_of_a_pipe(container: Container) -> None:
    await container.prepare("12345:12345" if os.geteuid() == 0 else None)
    readme = container.path / "README.md"
    readme.write_text(readme.read_text())
    _pipe(container.path / ".gitattributes")
    async with asyncio.timeout(SOON):
        await container.release()
    assert not container.private.exists()
