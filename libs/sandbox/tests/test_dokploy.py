"""Sandboxes on Dokploy, against a server that takes only what the real one takes."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import httpx
import pytest
import pytest_asyncio
import yaml

from runyard_sandbox import EngineAway, Health, Mount, NotSupported, NotThere, ProvisionFailed
from runyard_sandbox.dokploy import DokployProvisioner, DokploySettings
from runyard_sandbox.dokploy.dotenv import dotenv
from runyard_sandbox.provisioner import PROXY_NAME
from runyard_sandbox.proxy.config import VARIABLE, decoded
from runyard_sandbox.remote import Patience
from runyard_sandbox.shared import SharedFolder

from .fake_dokploy import KEY, FakeDokploy, dokploy
from .specs import AGENT

SPEC = replace(AGENT, env={**AGENT.env, "NOTE": "it's # not a comment"})


@pytest_asyncio.fixture
async def server() -> AsyncIterator[FakeDokploy]:
    async with dokploy() as fake:
        yield fake


def settings(server: FakeDokploy, **changed: Any) -> DokploySettings:
    values: dict[str, Any] = {
        "address": server.url,
        "api_key": KEY,
        "installation": "here",
        "images": {"agent": "runyard/agent:1"},
        "network": "runyard-sandboxes",
        "shared": SharedFolder(Path("/shared")),
        "shared_there": PurePosixPath("/mnt/runyard"),
        "accept_unhardened": True,
        "deploy_seconds": 5,
        "poll_seconds": 0.01,
        "patience": Patience(answer_seconds=2, attempts=3, first_pause_seconds=0.01),
        **changed,
    }
    return DokploySettings(**values)


@pytest_asyncio.fixture
async def provisioner(server: FakeDokploy) -> AsyncIterator[DokployProvisioner]:
    one = DokployProvisioner(settings(server))
    yield one
    await one.close()


async def test_a_sandbox_is_an_application_with_its_image_limits_network_and_files(
    server: FakeDokploy, provisioner: DokployProvisioner
) -> None:
    made = await provisioner.provision(replace(SPEC, health=Health(("true",))))
    assert (made.status, made.owner_id, made.epoch, made.purpose) == ("running", "s-1", 1, "agent")
    row = server.only
    assert (row["dockerImage"], row["memoryLimit"], row["cpuLimit"]) == (
        "runyard/agent:1",
        str(2 * 1024**3),
        "1000000000",
    )
    assert (row["memoryReservation"], row["cpuReservation"]) == (str(512 * 1024**2), "250000000")
    assert row["networkSwarm"] == [{"Target": "runyard-sandboxes"}]
    assert row["restartPolicySwarm"] == {"Condition": "none"}
    assert row["args"] == ["python", "-m", "runyard_runner_codex"]
    assert row["env"] == "SESSION_TOKEN='a-session-token'\nNOTE=`it's # not a comment`"
    assert [(one["type"], one["hostPath"], one["mountPath"]) for one in row["mounts"]] == [
        ("bind", "/mnt/runyard/w/s-1", "/shared/w/s-1")
    ]
    assert row["healthCheckSwarm"]["Interval"] == 30_000_000_000
    assert server.environments[row["environmentId"]]["name"] == "sandboxes"


async def test_without_a_health_check_of_its_own_the_one_of_the_image_does_not_count(
    server: FakeDokploy, provisioner: DokployProvisioner
) -> None:
    await provisioner.provision(SPEC)
    assert server.only["healthCheckSwarm"] == {"Test": ["NONE"]}


async def test_the_same_spec_twice_is_one_application(server: FakeDokploy, provisioner: DokployProvisioner) -> None:
    first = await provisioner.provision(SPEC)
    again = DokployProvisioner(settings(server))
    assert await again.provision(SPEC) == first
    assert server.asked["application.create"] == server.asked["project.create"] == 1
    with pytest.raises(ProvisionFailed, match="there already"):
        await again.provision(replace(SPEC, epoch=2))
    await again.close()


async def test_what_another_installation_or_a_person_runs_there_is_not_ours(
    server: FakeDokploy, provisioner: DokployProvisioner
) -> None:
    await provisioner.provision(SPEC)
    environment = server.only["environmentId"]
    for name, description in (("blog", "my blog"), ("other", server.only["description"].replace("here", "there"))):
        server.applications[name] = {**server.only, "applicationId": name, "name": name, "description": description}
        server.applications[name]["environmentId"] = environment
        assert [one.name for one in await provisioner.list()] == [SPEC.name]
        await provisioner.delete(name)
        assert name in server.applications
        del server.applications[name]


async def test_stop_start_and_delete_may_be_repeated(server: FakeDokploy, provisioner: DokployProvisioner) -> None:
    await provisioner.provision(SPEC)
    for _ in range(2):
        await provisioner.stop(SPEC.name)
        stopped = await provisioner.find(SPEC.name)
        assert stopped is not None
        assert stopped.status == "stopped"
    assert (await provisioner.start(SPEC.name)).status == "running"
    for _ in range(2):
        await provisioner.delete(SPEC.name)
        assert await provisioner.find(SPEC.name) is None
    await provisioner.stop(SPEC.name)
    with pytest.raises(NotThere):
        await provisioner.start(SPEC.name)
    assert not server.applications


@pytest.mark.parametrize(("code", "seen"), [(0, ("stopped", 0)), (137, ("stopped", 137))])
async def test_a_container_that_ended_by_itself_is_seen_with_its_exit_code(
    server: FakeDokploy, provisioner: DokployProvisioner, code: int, seen: tuple[str, int]
) -> None:
    await provisioner.provision(SPEC)
    server.ends(code)
    (found,) = await provisioner.list()
    assert (found.status, found.exit_code) == seen


async def test_changes_tell_of_what_ended_and_what_went(server: FakeDokploy, provisioner: DokployProvisioner) -> None:
    await provisioner.provision(SPEC)
    changes = provisioner.changes()
    task = asyncio.ensure_future(anext(changes))
    await server.is_asked("application.one", 2)  # the first look is over
    server.ends(1)
    change = await task
    assert (change.name, change.what) == (SPEC.name, "stopped")
    server.applications.clear()
    assert (await anext(changes)).what == "destroy"


async def test_a_missing_image_fails_with_its_reason_and_leaves_nothing(
    server: FakeDokploy, provisioner: DokployProvisioner
) -> None:
    with pytest.raises(ProvisionFailed, match="No such image") as failed:
        await provisioner.provision(replace(SPEC, image="no/such:image"))
    assert failed.value.reason == "image_missing"
    assert not server.applications


async def test_a_refused_step_leaves_nothing(server: FakeDokploy, provisioner: DokployProvisioner) -> None:
    server.faults["application.deploy"] = [500]
    with pytest.raises(ProvisionFailed):
        await provisioner.provision(SPEC)
    assert not server.applications
    assert server.asked["application.deploy"] == 1


async def test_an_application_whose_creation_was_not_heard_of_is_replaced(
    server: FakeDokploy, provisioner: DokployProvisioner
) -> None:
    server.lost_answers.add("application.create")
    with pytest.raises(EngineAway):
        await provisioner.provision(SPEC)
    assert len(server.applications) == 1
    assert (await provisioner.provision(SPEC)).status == "running"
    assert len(server.applications) == 1


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"mounts": (Mount(Path("/etc"), "/etc"),)}, "not in /shared"),
        ({"mounts": (Mount(Path("/shared/../etc"), "/etc"),)}, "not in /shared"),
        ({"mounts": (Mount(Path("/shared"), "/shared"),)}, "as a whole"),
        ({"mounts": (Mount(Path("/shared/git"), "/git", read_only=True),)}, "read-only"),
        ({"runtime": "runsc"}, "runtime"),
        ({"user": "0:0"}, "own user"),
        ({"ports": (5173,)}, "a preview needs"),
        ({"env": {"A B": "x"}}, "no name"),
        ({"env": {"TOKEN": "${{project.KEY}}-secret-value"}}, "TOKEN has"),
    ],
)
async def test_what_dokploy_cannot_do_is_refused_and_nothing_is_left(
    server: FakeDokploy, provisioner: DokployProvisioner, changed: dict[str, Any], why: str
) -> None:
    with pytest.raises(ProvisionFailed, match=why) as failed:
        await provisioner.provision(replace(SPEC, **changed))
    assert "secret-value" not in str(failed.value)
    assert not server.applications


async def test_an_unhardened_container_has_to_be_accepted(server: FakeDokploy) -> None:
    provisioner = DokployProvisioner(settings(server, accept_unhardened=False))
    with pytest.raises(ProvisionFailed, match="accept_unhardened"):
        await provisioner.provision(SPEC)
    await provisioner.close()


async def test_read_only_folders_come_from_where_the_hosts_have_them_read_only(server: FakeDokploy) -> None:
    chosen = settings(server, shared_read_only_there=PurePosixPath("/mnt/runyard-ro"))
    provisioner = DokployProvisioner(chosen)
    await provisioner.provision(replace(SPEC, mounts=(Mount(Path("/shared/git"), "/git", read_only=True),)))
    assert server.only["mounts"][0]["hostPath"] == "/mnt/runyard-ro/git"
    await provisioner.close()


async def test_exec_statistics_and_pausing_are_said_not_to_be_had(provisioner: DokployProvisioner) -> None:
    with pytest.raises(NotSupported):
        await provisioner.exec("any", ["true"])
    with pytest.raises(NotSupported):
        await anext(provisioner.stats("any"))
    with pytest.raises(NotSupported):
        await provisioner.pause("any")
    with pytest.raises(NotSupported):
        await provisioner.resume("any")


async def test_logs_come_once_each_and_end_with_the_container(
    server: FakeDokploy, provisioner: DokployProvisioner
) -> None:
    await provisioner.provision(SPEC)
    identifier = server.only["applicationId"]
    server.logs[identifier] = [f"2026-11-21T08:00:0{n}.123456789Z line {n}" for n in range(3)]
    assert [one.text async for one in provisioner.logs(SPEC.name, tail=2)] == ["line 1", "line 2"]
    told: list[str] = []
    async for line in provisioner.logs(SPEC.name, follow=True):
        told.append(line.text)
        if line.text == "line 2":
            server.logs[identifier] += ["2026-11-21T08:00:02.123456789Z same moment", "2026-11-21T08:00:03.5Z last"]
            server.ends(0)
    assert told == ["line 0", "line 1", "line 2", "same moment", "last"]
    with pytest.raises(NotThere):
        await anext(provisioner.logs("nothing"))


async def test_reads_are_tried_again_until_the_server_is_back(
    server: FakeDokploy, provisioner: DokployProvisioner
) -> None:
    await provisioner.provision(SPEC)
    server.faults["application.one"] = [500, 502]
    assert len(await provisioner.list()) == 1
    server.faults["application.stop"] = [503]
    await provisioner.stop(SPEC.name)
    server.faults["application.one"] = [500] * 3
    with pytest.raises(EngineAway) as away:
        await provisioner.list()
    assert KEY not in str(away.value)
    assert "***" in str(away.value)


async def test_a_server_that_says_nothing_is_away(server: FakeDokploy) -> None:
    patience = Patience(answer_seconds=0.05, attempts=2, first_pause_seconds=0.01)
    provisioner = DokployProvisioner(settings(server, patience=patience))
    server.faults["project.all"] = [0, 0]
    with pytest.raises(EngineAway, match="ReadTimeout"):
        await provisioner.check()
    assert server.asked["project.all"] == 2
    await provisioner.check()
    await provisioner.close()


async def test_a_server_that_is_not_there_or_does_not_take_the_key_is_away(server: FakeDokploy) -> None:
    nowhere = DokployProvisioner(settings(server, address="http://127.0.0.1:9"))
    with pytest.raises(EngineAway) as away:
        await nowhere.provision(SPEC)
    assert away.value.__cause__ is None
    assert away.value.__suppress_context__
    await nowhere.close()
    wrong = settings(server, api_key="another-secret-key")
    stranger = DokployProvisioner(wrong)
    with pytest.raises(EngineAway, match="401") as refused:
        await stranger.check()
    assert "another-secret-key" not in f"{refused.value} {wrong}"
    await stranger.close()


def test_values_are_quoted_so_that_dotenv_reads_them_back() -> None:
    assert dotenv({"A": "", "B": "two\nlines #x", "C": 'say "hi"'}) == "A=''\nB='two\nlines #x'\nC='say \"hi\"'"
    with pytest.raises(ProvisionFailed):
        dotenv({"A": "'`"})
    with pytest.raises(ProvisionFailed):
        dotenv({"A": "c:\\"})


def test_the_proxy_of_the_guide_leads_where_the_one_for_kubernetes_does_and_believes_no_address() -> None:
    root = Path(__file__).parents[3]
    guide = (root / "docs" / "guides" / "dokploy-and-kubernetes.md").read_text()
    networks, proxy = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", guide, re.DOTALL))
    told = decoded(json.dumps(proxy), "between us")
    assert (told.subnets, told.pages, told.egress_port) == (None, None, 3128)
    cluster = yaml.safe_load_all((root / "deploy" / "kubernetes" / "proxy.yaml").read_text())
    (config,) = (one for one in cluster if one["kind"] == "ConfigMap")
    assert told == replace(decoded(config["data"][VARIABLE], "between us"), names_port=None)
    assert networks[0] == {"Target": "runyard-sandboxes", "Aliases": [PROXY_NAME]}


@pytest.mark.parametrize(
    ("method", "route", "body", "status"),
    [
        ("GET", "application.one?applicationId=nobody", None, 404),
        ("GET", "application.one", None, 400),
        ("GET", "application.unheardOf", None, 404),
        ("POST", "application.one", {"applicationId": "x"}, 405),
        ("POST", "application.create", {"name": "x"}, 400),
        ("POST", "application.create", {"name": "x", "environmentId": "nowhere"}, 404),
        ("POST", "application.saveDockerProvider", {"applicationId": "x", "dockerImage": "i"}, 400),
        ("POST", "application.update", {"applicationId": "x", "memoryLimit": 1024}, 400),
        ("POST", "application.update", {"applicationId": "x", "memoryLimits": "1024"}, 400),
        ("POST", "application.deploy", {}, 400),
    ],
)
async def test_the_server_of_these_tests_takes_only_what_the_real_one_takes(
    server: FakeDokploy, method: str, route: str, body: Any, status: int
) -> None:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        answer = await client.request(method, f"/api/{route}", json=body, headers={"x-api-key": KEY})
        assert answer.status_code == status, answer.text
        for headers in ({}, {"Authorization": f"Bearer {KEY}"}, {"x-api-key": "wrong"}):
            assert (await client.request(method, f"/api/{route}", json=body, headers=headers)).status_code == 401
