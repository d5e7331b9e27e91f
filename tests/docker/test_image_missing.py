"""Runs whose container's image the engine does not have, or whose agent that image lacks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.docker.conftest import acp_image
from tests.docker.remains import assert_nothing_is_left

from runyard_stack.credentials import read_credentials

if TYPE_CHECKING:
    from tests.conftest import Api, Stack
    from tests.docker.conftest import Engine

pytestmark = [pytest.mark.docker, pytest.mark.agents, pytest.mark.timeout(180)]
IMAGE = "runyard/nobody-has-this:0"


@pytest.fixture(scope="module")
def settings(images: str) -> dict[str, str]:
    chosen = json.dumps({"codex": IMAGE, "claude": IMAGE, "droid": acp_image("without-agents")})
    return {"SANDBOX_IMAGES": chosen, "SANDBOX_PROXY_IMAGE": f"runyard/runner-codex:{images}", "RECONCILE_SECONDS": "1"}


@pytest.mark.parametrize("agent", ["codex", "claude"])
async def test_a_run_without_its_image_is_a_plain_process_s_where_the_team_allows_it_and_fails_where_not(
    api: "Api", stack: "Stack", engine: "Engine", repository: Path, sandbox_events: Callable[..., Any], agent: str
) -> None:
    workspace = await api.import_repository(repository)
    strict, lenient = await api.session(workspace, agent), await api.session(workspace, agent)
    credentials = read_credentials(stack.home / "secrets.json")
    assert credentials is not None
    rules = f"/api/teams/{credentials.tenant_id}/sandbox-rules"

    await api.call("PUT", rules, json={"process_fallback": False})
    refused = await api.events(await api.prompt(strict, "[[script: tokens 5]]"))
    await api.call("PUT", rules, json={"process_fallback": True})
    taken = await api.events(await api.prompt(lenient, "[[script: tokens 5]]"))

    assert refused[-1].type == "run.error"
    assert refused[-1].payload["reason"] == "sandbox_failed"
    assert IMAGE in refused[-1].payload["message"]
    assert taken[-1].type == "run.completed"
    sent = [one.payload for one in taken if one.type == "run.dispatched"]
    assert [one["method"] for one in sent] == ["docker", "process"]
    assert IMAGE in sent[1]["reason"]
    for session in (strict, lenient):
        told = await sandbox_events(stack, session)
        errors = [one["payload"]["reason"] for one in told if one["type"] == "sandbox.error"]
        assert errors == ["image_missing", "gave_up"]
    await assert_nothing_is_left(stack, api, engine, strict, lenient)


async def test_an_agent_that_is_not_in_its_image_ends_the_run_with_the_remedy(api: "Api", repository: Path) -> None:
    session = await api.session(await api.import_repository(repository), "droid")

    last = (await api.events(await api.prompt(session, "hello")))[-1]

    assert (last.type, last.payload["reason"]) == ("run.error", "start_failed")
    assert 'make images AGENTS="droid' in last.payload["message"]
