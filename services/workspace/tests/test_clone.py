"""Clones: what can be had arrives whole, what cannot leaves nothing behind."""

import asyncio
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from runyard_workspace.adapters.clone import Cloned, CloneFailed, Cloner
from runyard_workspace.adapters.git import Git
from runyard_workspace.adapters.guard import Limits
from runyard_workspace.adapters.staging import Staging
from runyard_workspace.domain.failures import Failure
from runyard_workspace.domain.progress import Progress
from runyard_workspace.domain.sources import REMOTE_SCHEMES, parse_source

from .conftest import git, make_repository, serve_dumb
from .servers import raw_server, response, static_server

LIMITS = Limits(seconds=20, spare_bytes=0, watch_seconds=0.05)


class Bench:
    """A cloner and the folder that it works in."""

    def __init__(self, root: Path, limits: Limits = LIMITS, git_tool: Git | None = None) -> None:
        self.root = root
        self.target = root / "w1" / "repo"
        self.told: list[Progress] = []
        self.staging = Staging(root / ".staging")
        self.cloner = Cloner(git_tool or Git(), self.staging, limits, REMOTE_SCHEMES)

    async def clone(self, uri: str) -> Cloned:
        async def tell(progress: Progress) -> None:
            self.told.append(progress)

        source = parse_source("local" if uri.startswith("/") else "git", uri)
        return await self.cloner.clone(source, self.target, "w1", tell)

    async def fails(self, uri: str) -> Failure:
        with pytest.raises(CloneFailed) as caught:
            await self.clone(uri)
        assert self.left() == []
        return caught.value.failure

    def left(self) -> list[str]:
        """Everything on disk below the root, apart from the folders that always stay."""
        found = [str(path.relative_to(self.root)) for path in self.root.rglob("*")]
        return [path for path in found if path != ".staging"]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "workspaces")


def give_away(folder: Path, user: int) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, user, user)


async def test_a_local_repository_is_copied_whole_and_stands_on_its_own(bench: Bench, repository: Path) -> None:
    git(repository, "branch", "other")
    git(repository, "tag", "v1")
    cloned = await bench.clone(str(repository))
    assert cloned.path == bench.target
    assert cloned.default_branch == "main"
    assert cloned.head_commit == git(repository, "rev-parse", "HEAD")
    assert cloned.size_bytes > 0
    assert (bench.target / "README.md").read_text() == "# Hello\n"
    assert "origin/other" in git(bench.target, "branch", "-r")
    assert git(bench.target, "tag") == "v1"
    assert not (bench.target / ".git/objects/info/alternates").exists()
    assert not list((bench.target / ".git/hooks").glob("*")) if (bench.target / ".git/hooks").exists() else True
    assert bench.left()[0].startswith("w1")
    assert not list((bench.root / ".staging").iterdir())


async def test_a_bare_repository_and_a_worktree_can_be_imported(bench: Bench, repository: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--bare", str(repository), "bare.git")
    assert (await bench.clone(str(tmp_path / "bare.git"))).default_branch == "main"
    git(repository, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    other = Bench(tmp_path / "more")
    assert (await other.clone(str(tmp_path / "side"))).default_branch == "side"


async def test_a_repository_with_a_detached_head_can_be_imported(bench: Bench, repository: Path) -> None:
    git(repository, "checkout", "-q", "--detach")
    cloned = await bench.clone(str(repository))
    assert cloned.head_commit == git(repository, "rev-parse", "HEAD")


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
async def test_a_repository_of_another_user_can_be_imported(bench: Bench, repository: Path) -> None:
    give_away(repository, 12345)
    assert (await bench.clone(str(repository))).default_branch == "main"


async def test_a_shallow_repository_can_be_imported(bench: Bench, repository: Path, tmp_path: Path) -> None:
    git(repository, "commit", "-q", "--allow-empty", "-m", "More")
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{repository}", "shallow")
    assert (await bench.clone(str(tmp_path / "shallow"))).head_commit == git(repository, "rev-parse", "HEAD")


async def test_progress_is_told_while_cloning(bench: Bench, repository: Path, tmp_path: Path) -> None:
    with static_server(serve_dumb(repository, tmp_path / "www")) as address:
        cloned = await bench.clone(f"{address}/repo.git")
    assert cloned.head_commit == git(repository, "rev-parse", "HEAD")
    local = Bench(tmp_path / "local")
    await local.clone(str(repository))
    assert {"receiving"} <= {progress.phase for progress in local.told}
    assert all(progress.percent is None or 0 <= progress.percent <= 100 for progress in local.told)


async def test_a_head_that_names_no_branch_is_replaced_by_a_branch_that_exists(bench: Bench, repository: Path) -> None:
    git(repository, "branch", "zeta")
    git(repository, "branch", "-m", "main", "master")
    git(repository, "symbolic-ref", "HEAD", "refs/heads/gone")
    assert (await bench.clone(str(repository))).default_branch == "master"
    assert (bench.target / "README.md").exists()


async def test_an_empty_repository_is_refused_as_empty(bench: Bench, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "empty")
    assert (await bench.fails(str(tmp_path / "empty"))).reason == "empty"


async def test_a_folder_that_is_not_there_is_not_found(bench: Bench, tmp_path: Path) -> None:
    assert (await bench.fails(str(tmp_path / "nowhere"))).reason == "not_found"


async def test_a_folder_without_git_is_not_a_repository(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    assert (await bench.fails(str(tmp_path / "plain"))).reason == "not_a_repository"


async def test_a_folder_inside_a_repository_is_refused_and_the_repository_named(bench: Bench, repository: Path) -> None:
    failure = await bench.fails(str(repository / "src"))
    assert failure.reason == "not_a_repository"
    assert f"inside the repository {repository}" in failure.message


async def test_an_unknown_repository_on_a_server_is_not_found(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    with static_server(tmp_path / "www") as address:
        assert (await bench.fails(f"{address}/org/none.git")).reason == "not_found"


async def test_a_server_that_nobody_answers_for_is_not_found(bench: Bench) -> None:
    assert (await bench.fails("http://127.0.0.1:9/org/repo.git")).reason == "not_found"


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
async def test_a_private_repository_asks_for_a_sign_in_and_nobody_is_prompted(bench: Bench, status: str) -> None:
    async with raw_server(response(status, 'WWW-Authenticate: Basic realm="git"')) as address:
        assert (await bench.fails(address)).reason == "auth_required"


async def test_a_web_page_is_not_a_repository(bench: Bench) -> None:
    async with raw_server(response("200 OK", "Content-Type: text/html", body="<html>\n<p>hello\n</html>\n")) as address:
        assert (await bench.fails(address)).reason == "not_a_repository"


async def test_a_broken_answer_is_a_failure_with_git_s_words(bench: Bench) -> None:
    async with raw_server(response("500 Internal Server Error")) as address:
        failure = await bench.fails(address)
    assert failure.reason == "failed"
    assert "500" in failure.message


async def test_a_redirect_to_a_local_file_is_not_followed(bench: Bench, repository: Path) -> None:
    async with raw_server(response("302 Found", f"Location: file://{repository}/.git/info/refs")) as address:
        failure = await bench.fails(address)
    assert failure.reason in ("failed", "refused_url", "not_a_repository")


async def test_a_server_that_hangs_is_given_up_when_it_stalls(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "workspaces", git_tool=Git(low_speed_seconds=1))
    async with raw_server(b"", then_hang=True) as address:
        assert (await bench.fails(address)).reason == "timeout"


async def test_a_server_that_trickles_for_ever_is_given_up_at_the_time_limit(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "workspaces", replace(LIMITS, seconds=1))
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"
    async with raw_server(head, forever=b"x" * 4096) as address:
        failure = await bench.fails(address)
    assert failure.reason == "timeout"


def noisy_repository(folder: Path, *, files: int = 1, size: int = 3 * 1024**2) -> Path:
    """A repository that does not compress."""
    rng = random.Random(7)  # noqa: S311 - any bytes will do
    return make_repository(folder, {f"data{number}.bin": rng.randbytes(size) for number in range(files)})


async def test_a_repository_beyond_the_size_limit_is_stopped(tmp_path: Path) -> None:
    source = noisy_repository(tmp_path / "big")
    bench = Bench(tmp_path / "workspaces", replace(LIMITS, size_bytes=1024**2))
    failure = await bench.fails(str(source))
    assert failure.reason == "too_large"
    assert "1 MiB" in failure.message


async def test_a_small_pack_that_unpacks_to_a_huge_tree_is_stopped_too(tmp_path: Path) -> None:
    source = make_repository(tmp_path / "bomb", {f"zeros{n}": b"\0" * 1024**2 for n in range(16)})
    bench = Bench(tmp_path / "workspaces", replace(LIMITS, size_bytes=4 * 1024**2))
    assert (await bench.fails(str(source))).reason == "too_large"


async def test_a_repository_with_too_many_files_is_stopped(tmp_path: Path) -> None:
    source = make_repository(tmp_path / "many", {f"f{n}": "x" for n in range(200)})
    bench = Bench(tmp_path / "workspaces", replace(LIMITS, entries=150))
    assert (await bench.fails(str(source))).reason == "too_large"


async def test_a_disk_without_the_wanted_spare_room_is_full(tmp_path: Path, repository: Path) -> None:
    bench = Bench(tmp_path / "workspaces", replace(LIMITS, spare_bytes=2**62))
    assert (await bench.fails(str(repository))).reason == "disk_full"


async def test_a_cancelled_clone_kills_git_and_leaves_nothing(bench: Bench) -> None:
    asked = asyncio.Event()
    async with raw_server(b"", then_hang=True, asked=asked) as address:
        work = asyncio.ensure_future(bench.clone(address))
        await asked.wait()
        assert list(bench.root.glob(".staging/w1.*/repo"))
        assert _processes_below(bench.root)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
    assert bench.left() == []
    assert not _processes_below(bench.root)


async def test_what_a_killed_attempt_has_left_is_swept_by_the_next(bench: Bench, repository: Path) -> None:
    stale = bench.root / ".staging" / "w1.0badcafe"
    (stale / "repo").mkdir(parents=True)
    stale.with_name("w1.0badcafe.lock").touch()
    await bench.clone(str(repository))
    assert not stale.exists()
    assert list((bench.root / ".staging").iterdir()) == []


async def test_a_sweep_leaves_alone_what_is_in_use(bench: Bench) -> None:
    async with bench.staging.folder("w2") as folder:
        assert await bench.staging.sweep() == 0
        assert folder.is_dir()
    assert await bench.staging.sweep() == 0


async def test_a_copy_that_is_already_there_is_taken_as_it_is(bench: Bench, repository: Path) -> None:
    first = await bench.clone(str(repository))
    git(repository, "commit", "-q", "--allow-empty", "-m", "Later")
    assert (await bench.clone(str(repository))).head_commit == first.head_commit


async def test_two_attempts_at_once_make_one_copy(bench: Bench, repository: Path) -> None:
    one, two = await asyncio.gather(bench.clone(str(repository)), bench.clone(str(repository)))
    assert one.path == two.path
    assert one.head_commit == two.head_commit
    assert list((bench.root / ".staging").iterdir()) == []


async def test_the_source_s_hooks_and_filters_are_not_run(bench: Bench, repository: Path, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    (repository / ".gitattributes").write_text("* filter=evil\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "Attributes")
    git(repository, "config", "filter.evil.smudge", f"touch {mark}; cat")
    git(repository, "config", "uploadpack.packObjectsHook", f"touch {mark}; exec")
    hook = repository / ".git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {mark}\n")
    hook.chmod(0o755)
    await bench.clone(str(repository))
    assert not mark.exists()


def _processes_below(root: Path) -> list[str]:
    found: list[str] = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                line = (folder / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if str(root) in line:
                found.append(line)
    return found
