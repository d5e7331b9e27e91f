"""What a real agent has worked out goes to the repository that it came from."""

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Api

pytestmark = [pytest.mark.agents, pytest.mark.timeout(180)]


async def test_a_session_s_work_is_fetched_committed_and_pushed(
    api: "Api", repository: Path, request: pytest.FixtureRequest
) -> None:
    if request.config.getoption("--stack") == "compose":
        pytest.skip("a composed stack sees local repositories read-only")
    workspace = await api.import_repository(repository)
    _git(repository, "commit", "-q", "--allow-empty", "-m", "Moved on")
    fetched = await api.call("POST", f"/api/workspaces/{workspace}/fetch")
    assert fetched["branches"] == {"main": _git(repository, "rev-parse", "main")}
    session = await api.session(workspace, "codex")
    nothing = await api.client.post(f"/api/sessions/{session}/push")
    assert (nothing.status_code, nothing.json()["type"]) == (409, "sync-nothing-to-push")
    events = await api.events(await api.prompt(session, "List the files and add a NOTES.md that says what this is"))
    assert events[-1].type == "run.completed"

    pushed = await api.call("POST", f"/api/sessions/{session}/push", json={"message": "Say what this is"})

    branch = pushed["branch"]
    assert _git(repository, "rev-parse", branch) == pushed["commit"]
    assert _git(repository, "log", "--format=%s", branch).splitlines() == ["Say what this is", "Moved on", "first"]
    assert _git(repository, "diff", "--name-only", f"main..{branch}") == "NOTES.md"
    again = await api.call("POST", f"/api/sessions/{session}/push")
    assert again["up_to_date"]
    row = await api.call("GET", f"/api/workspaces/{workspace}")
    assert row["status"] == "ready"


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Tester", "-c", "user.email=tester@example.com"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()
