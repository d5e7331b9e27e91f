"""Agents that come from npm in containers of a real engine, in an image that was built with them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.docker.conftest import acp_image
from tests.runs import payloads

from runyard_runner.testbench import script

if TYPE_CHECKING:
    from tests.conftest import Api, Stack
    from tests.docker.conftest import Engine

pytestmark = [pytest.mark.docker, pytest.mark.agents, pytest.mark.acp, pytest.mark.timeout(400)]
AGENTS = ("opencode", "droid", "gemini")
LOOK = """exec 2>&1; grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status; printf 'uid '; id -u
for each in /opt/agents /opt/agents/*; do touch "$each/mine" && echo poisoned; done
env | grep SESSION_TOKEN; command -v npm; echo made >made.md"""


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {"SANDBOX_IMAGES": json.dumps(dict.fromkeys(AGENTS, acp_image("with-agents", *AGENTS)))}


@pytest.mark.parametrize("agent", AGENTS)
async def test_it_works_in_a_sealed_container_and_goes_on_in_its_thread(
    stack: "Stack", api: "Api", engine: "Engine", repository: Path, sandbox_events: Callable[..., Any], agent: str
) -> None:
    session = await api.session(await api.import_repository(repository), agent)

    first = await api.events(await api.prompt(session, script({"run": LOOK}, {"say": "looked"})))
    second = await api.events(await api.prompt(session, script({"say": "again"})))

    assert [first[-1].type, second[-1].type] == ["run.completed"] * 2, (first[-1].payload, second[-1].payload)
    assert [one["method"] for one in payloads(first, "run.dispatched")] == ["docker"]
    assert engine.of(session) == f"runyard-{session[:8]}-1"
    types = [one["type"] for one in await sandbox_events(stack, session)]
    assert types == ["sandbox.requested", "sandbox.creating", "sandbox.running"]
    (result,) = payloads(first, "ui.tool.result")
    said = dict(
        line.replace(":", "").split(None, 1) for line in str(result["output"]).splitlines() if "touch" not in line
    )
    assert (said["CapEff"], said["CapBnd"], said["NoNewPrivs"]) == ("0" * 16, "0" * 16, "1")
    assert said.keys() == {"CapEff", "CapBnd", "NoNewPrivs", "uid"}, "neither poisoned, nor a token, nor npm"
    assert said["uid"] != "0"
    assert "made.md" in str(await api.call("GET", f"/api/sessions/{session}/diff"))
    threads = {one["nativeThreadId"] for one in payloads(second, "run.started")}
    assert threads == {one["nativeThreadId"] for one in payloads(first, "run.thread_bound")}
    assert payloads(second, "ui.notice") == []
