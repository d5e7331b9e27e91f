"""A session as its container sees it, and what tests of it stand on."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from runyard_events import Reply, StoredEvent
from runyard_events.catalogue import CommitsRefused, CommitsTaken
from runyard_events.commands import PrepareSandbox, ReleaseSandbox
from runyard_events.subjects import session_subject

from .conftest import ENV, Running, git, make_repository


@dataclass(frozen=True)
class Container:
    """A session as its container sees it: its mounts stand for each other's places, nothing else is believed."""

    service: Running
    workspace: str
    session: str
    path: Path
    branch: str

    @property
    def private(self) -> Path:
        return self.service.root / self.workspace / "sandboxes" / self.session / "git"

    @property
    def repo(self) -> Path:
        return self.service.root / self.workspace / "repo"

    def git(self, *args: str) -> str:
        env = {**ENV, "GIT_DIR": str(self.private), "GIT_WORK_TREE": str(self.path)}
        done = subprocess.run(["git", *args], cwd=self.path, env=env, check=True, capture_output=True)
        return os.fsdecode(done.stdout).strip()

    def commit(self, name: str, content: str = "x\n") -> str:
        with (self.path / "README.md").open("a") as readme:
            readme.write(f"{name}\n")
        (self.path / name).write_text(content)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", f"Add {name}")
        return self.git("rev-parse", "HEAD")

    def ours(self) -> str:
        return git(self.repo, "rev-parse", f"refs/heads/{self.branch}")

    async def prepare(self, owner: str | None = None) -> Reply:
        reply = await self.service.ask(PrepareSandbox(session_id=self.session, owner=owner))
        assert reply.ok, reply.problem
        return reply

    async def release(self) -> None:
        reply = await self.service.ask(ReleaseSandbox(session_id=self.session))
        assert reply.ok, reply.problem

    async def said(self) -> list[CommitsTaken | CommitsRefused]:
        events = await self.service.events(session_subject(self.service.tenant, self.session, "effect"))
        return [one.event.payload for one in events if isinstance(one.event.payload, (CommitsTaken, CommitsRefused))]

    async def end_run(self) -> StoredEvent:
        """A run ends, and what was committed is looked at: asked for again, it is sure to be done."""
        stored = await self.service.finish_run(self.session)
        await self.prepare()
        return stored


async def contained(service: Running, source: Path) -> Container:
    workspace = await service.import_local(source)
    session, path = await service.open_session(workspace)
    container = Container(service, workspace, session, path, git(path, "rev-parse", "--abbrev-ref", "HEAD"))
    await container.prepare()
    return container


@pytest.fixture
async def container(service: Running, repository: Path) -> Container:
    return await contained(service, repository)


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """The repository of somebody else on the same host."""
    return make_repository(tmp_path / "others", {"secret.txt": "an object of somebody else\n"}) / ".git"
