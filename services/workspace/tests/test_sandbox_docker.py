"""The Git of a session in a real container, hardened as sandboxes are."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import docker
import pytest
from docker.models.containers import Container as Engine
from docker.types import Mount

from runyard_events import Reply

from .conftest import Running, git, make_repository
from .containers import Container, contained

pytestmark = pytest.mark.docker

IMAGE = f"runyard/runner-codex:{os.environ.get('TAG', 'latest')}"
"""What sessions get, as `make images` builds it; its Git is what counts here."""
OWNER = "10001:10001" if os.geteuid() == 0 else f"{os.geteuid()}:{os.getegid()}"


@contextmanager
def _started(reply: Reply) -> Generator[Engine]:
    client = docker.from_env()
    mounts = [
        Mount(one["target"], one["source"], type="bind", read_only=one["read_only"]) for one in reply.result["mounts"]
    ]
    container: Any = client.containers.run(
        IMAGE, ["600"], entrypoint="sleep", detach=True,
        user=OWNER, read_only=True, network_mode="none", cap_drop=["ALL"],
        security_opt=["no-new-privileges"], pids_limit=256, mem_limit="512m", mounts=mounts,
        tmpfs={"/tmp": "", "/run": ""}, environment={"HOME": "/tmp"},  # noqa: S108 - of the container
        labels={"runyard.test": "workspace"}, working_dir=reply.result["path"],
    )  # fmt: skip
    try:
        yield container
    finally:
        container.remove(force=True)
        client.close()


def _run(container: Engine, script: str) -> tuple[int, str]:
    result: Any = container.exec_run(["sh", "-c", script])
    return result.exit_code, result.output.decode().strip()


def _succeeds(container: Engine, script: str) -> str:
    status, said = _run(container, script)
    assert status == 0, said
    return said


def _work_and_attack(inner: Engine, container: Container) -> str:
    common = container.repo / ".git"
    assert _succeeds(inner, "git status --porcelain --branch") == f"## {container.branch}"
    assert _succeeds(inner, "git log --format=%s") == "Begin"
    _succeeds(inner, "echo more >> README.md && echo new > new.txt")
    assert "+more" in _succeeds(inner, "git diff")
    _succeeds(inner, "git add -A && git commit -q -m 'Work in a container'")
    assert _succeeds(inner, "git log --format='%s by %an' -1") == "Work in a container by Runyard agent"
    _succeeds(inner, "git stash list && git branch other && git gc -q && git fsck --strict")
    for attack in (
        f"touch {common}/objects/x",
        f"rm -rf {common}/objects/*",
        f"mkdir {common}/hooks",
        f"ls {common}/config",
        f"ls {common}/refs",
        f"ls {common}/../..",
        "rm .git",
        "mv .git elsewhere",
        "echo gitdir: /tmp > .git",
        "ln -sf /tmp .git",
        f"mv {container.path} /tmp/x",
        "git update-ref refs/heads/main HEAD && ls " + str(common / "refs"),
    ):
        status, said = _run(inner, attack)
        if attack.startswith("ls") and status == 0:
            assert said.split() == ["repo", "worktrees"], said
        else:
            assert status != 0, f"{attack}: {said}"
    return _succeeds(inner, "git rev-parse HEAD")


async def test_an_agent_commits_in_its_container_and_the_session_s_branch_has_it(
    service: Running, tmp_path_factory: pytest.TempPathFactory
) -> None:
    container = await contained(service, make_repository(tmp_path_factory.mktemp("source") / "repo"))
    with _started(await container.prepare(OWNER)) as inner:
        commit = _work_and_attack(inner, container)
        await service.finish_run(container.session)
        # While the container goes on: the next one is made ready, and what it has committed is there.
        await container.prepare(OWNER)
        assert container.ours() == commit
        _succeeds(inner, "echo again > again.txt && git add -A && git commit -q -m 'And again'")
        latest = _succeeds(inner, "git rev-parse HEAD")
        assert _succeeds(inner, "git status --porcelain") == ""
    with _started(await container.prepare(OWNER)) as inner:
        assert container.ours() == latest
        assert _succeeds(inner, "git log --format=%s").splitlines() == ["And again", "Work in a container", "Begin"]
        assert _succeeds(inner, "git status --porcelain") == ""
    await container.release()
    assert git(container.path, "status", "--porcelain") == ""
    assert git(container.path, "log", "-1", "--format=%s") == "And again"
    # The remote's branch of the container is no business of the managed copy.
    assert git(container.repo, "log", "-1", "--format=%s", "main") == "Begin"
