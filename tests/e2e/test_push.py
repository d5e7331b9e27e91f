"""What a real agent has worked out goes to the repository that it came from."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from services.workspace.tests.remote_servers import git_server
from tests.conftest import LoopbackDoor

if TYPE_CHECKING:
    from tests.conftest import Api

pytestmark = [pytest.mark.agents, pytest.mark.timeout(180)]


@dataclass(frozen=True)
class Origin:
    """A user's repository as the stack is told of it, and where it is on this machine."""

    body: dict[str, str]
    folder: Path


@pytest.fixture
def origin(request: pytest.FixtureRequest, repository: Path, tmp_path: Path) -> Iterator[Origin]:
    """The folder itself; where the stack sees folders of this machine read-only, a copy of it at a Git server."""
    if request.config.getoption("--stack") != "compose":
        yield Origin({"source_type": "local", "source_uri": str(repository)}, repository)
        return
    with git_server(tmp_path / "served") as server:
        server.token = None
        address = urlsplit(server.add("project", repository))
        assert address.port
        with LoopbackDoor(address.port) as door:
            uri = f"http://host.docker.internal:{address.port}{address.path}"
            yield Origin({"source_type": "git", "source_uri": uri}, server.bare("project"))
            door.shutdown()


async def test_a_session_s_work_is_fetched_committed_and_pushed(api: "Api", repository: Path, origin: Origin) -> None:
    workspace = (await api.call("POST", "/api/workspaces/import", json=origin.body))["workspace_id"]
    _git(repository, "commit", "-q", "--allow-empty", "-m", "Moved on")
    if origin.folder != repository:
        _git(repository, "push", "-q", str(origin.folder), "main")
    fetched = await api.call("POST", f"/api/workspaces/{workspace}/fetch")
    assert fetched["branches"] == {"main": _git(repository, "rev-parse", "main")}
    session = await api.session(workspace, "codex")
    nothing = await api.client.post(f"/api/sessions/{session}/push")
    assert (nothing.status_code, nothing.json()["type"]) == (409, "sync-nothing-to-push")
    events = await api.events(await api.prompt(session, "List the files and add a NOTES.md that says what this is"))
    assert events[-1].type == "run.completed"

    pushed = await api.call("POST", f"/api/sessions/{session}/push", json={"message": "Say what this is"})

    branch = pushed["branch"]
    assert _git(origin.folder, "rev-parse", branch) == pushed["commit"]
    assert _git(origin.folder, "log", "--format=%s", branch).splitlines() == ["Say what this is", "Moved on", "first"]
    assert _git(origin.folder, "diff", "--name-only", f"main..{branch}") == "NOTES.md"
    again = await api.call("POST", f"/api/sessions/{session}/push")
    assert again["up_to_date"]
    row = await api.call("GET", f"/api/workspaces/{workspace}")
    assert row["status"] == "ready"


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Tester", "-c", "user.email=tester@example.com"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()
