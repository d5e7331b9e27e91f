"""Sandboxes on Kubernetes, against an API server that takes only what the published resources allow."""

import asyncio
import base64
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runyard_sandbox import (
    EngineAway,
    Health,
    Mount,
    NotSupported,
    NotThere,
    ProvisionFailed,
    SandboxFault,
)
from runyard_sandbox.kubernetes import KubernetesProvisioner, Reach
from runyard_sandbox.kubernetes.manifests import network_policy
from runyard_sandbox.kubernetes.reading import quantity

from .crds import faults
from .fake_kubernetes import PROXY, FakeKubernetes
from .on_kubernetes import SPEC, settings


async def test_a_sandbox_runs_hardened_limited_and_with_its_own_files_only(
    server: FakeKubernetes, provisioner: KubernetesProvisioner
) -> None:
    expiring = datetime(2026, 11, 22, 8, tzinfo=UTC)
    wanted = replace(SPEC, runtime="runsc", health=Health(("true",)), ports=(5173,), expires_at=expiring)
    made = await provisioner.provision(wanted)
    assert (made.status, made.owner_id, made.tenant_id, made.epoch, made.healthy) == ("running", "s-1", "t-1", 1, True)
    assert made.expires_at == expiring
    assert made.addresses == {5173: "10.1.0.9:5173"}
    assert server.resources["Sandbox"][SPEC.name]["spec"]["shutdownTime"] == "2026-11-22T08:00:00Z"
    spec = server.pod["spec"]
    (container,) = spec["containers"]
    assert spec["runtimeClassName"] == "runsc"
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"] == {
        "limits": {"cpu": "1000m", "memory": str(2 * 1024**3)},
        "requests": {"cpu": "250m", "memory": str(512 * 1024**2)},
    }
    mounted = [one for one in container["volumeMounts"] if one["name"] == "shared"]
    assert [(one["mountPath"], one["subPath"], one["readOnly"]) for one in mounted] == [
        ("/shared/w/s-1", "w/s-1", False),
        ("/shared/git", "git", True),
    ]
    assert spec["volumes"][-1]["persistentVolumeClaim"] == {"claimName": "runyard-files"}


async def test_it_is_unhealthy_when_it_has_been_ready_and_is_not_any_more(
    server: FakeKubernetes, provisioner: KubernetesProvisioner
) -> None:
    await provisioner.provision(replace(SPEC, health=Health(("true",))))
    status = server.pod["status"]

    async def turned(at: str, *, ready: bool) -> bool | None:
        status["containerStatuses"][0]["ready"] = ready
        status["conditions"] = [{"type": "Ready", "status": str(ready), "lastTransitionTime": at}]
        found = await provisioner.find(SPEC.name)
        assert found is not None
        return found.healthy

    assert status["containerStatuses"][0]["state"]["running"]["startedAt"] == "2026-11-21T08:00:01Z"
    assert await turned("2026-11-21T08:00:00Z", ready=False) is None
    assert await turned("2026-11-21T08:00:31Z", ready=True) is True
    assert await turned("2026-11-21T08:03:01Z", ready=False) is False


async def test_environment_variables_are_in_a_secret_that_goes_with_the_sandbox(
    server: FakeKubernetes, provisioner: KubernetesProvisioner
) -> None:
    await provisioner.provision(SPEC)
    secret = server.resources["Secret"][SPEC.name]
    assert secret["data"] == {"SESSION_TOKEN": base64.b64encode(b"a-session-token").decode()}
    sandbox = server.resources["Sandbox"][SPEC.name]
    assert secret["metadata"]["ownerReferences"][0]["uid"] == sandbox["metadata"]["uid"]
    assert "a-session-token" not in str(sandbox)
    await provisioner.delete(SPEC.name)
    assert not server.resources["Secret"]
    assert not server.resources["Pod"]


async def test_nothing_but_the_proxy_can_be_reached(server: FakeKubernetes, provisioner: KubernetesProvisioner) -> None:
    await provisioner.provision(SPEC)
    (policy,) = server.resources["NetworkPolicy"].values()
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= server.pod["metadata"]["labels"].items()
    (egress,) = policy["spec"]["egress"]
    assert egress["to"] == [{"podSelector": {"matchLabels": {"app": "runyard-proxy"}}}]
    assert [(one["protocol"], one["port"]) for one in egress["ports"]] == [
        *(("TCP", port) for port in (4222, 8086, 8080, 3128)),
        ("UDP", 5353),
    ]
    (ingress,) = policy["spec"]["ingress"]
    assert ingress["from"] == [{"podSelector": {"matchLabels": {"app": "runyard-gateway"}}}]
    closed = network_policy(settings(server, reach=Reach(service="p", proxy={"app": "p"})))
    assert faults(closed) == []
    assert closed["spec"]["ingress"] == []


async def test_the_proxy_is_the_only_name_that_can_be_looked_up(
    server: FakeKubernetes, provisioner: KubernetesProvisioner
) -> None:
    await provisioner.provision(SPEC)
    spec = server.pod["spec"]
    assert spec["hostAliases"] == [{"ip": PROXY, "hostnames": ["runyard"]}]
    assert (spec["dnsPolicy"], spec["dnsConfig"]["nameservers"]) == ("None", [PROXY])


@pytest.mark.parametrize("service", [None, {"clusterIP": "None"}, {}])
async def test_without_a_proxy_there_are_no_sandboxes(
    server: FakeKubernetes, provisioner: KubernetesProvisioner, service: dict[str, str] | None
) -> None:
    there = server.resources["Service"].pop("runyard-proxy")
    if service is not None:
        server.resources["Service"]["runyard-proxy"] = {**there, "spec": service}
    with pytest.raises(ProvisionFailed, match="no Service runyard-proxy"):
        await provisioner.provision(SPEC)
    assert not server.resources["Sandbox"]


async def test_the_same_spec_twice_is_one_sandbox_also_when_the_first_attempt_was_cut_short(
    server: FakeKubernetes, provisioner: KubernetesProvisioner
) -> None:
    server.faults["POST Secret"] = [503]
    with pytest.raises(EngineAway):
        await provisioner.provision(SPEC)
    first = await provisioner.provision(SPEC)
    assert await provisioner.provision(SPEC) == first
    assert first.status == "running"
    with pytest.raises(ProvisionFailed, match="there already"):
        await provisioner.provision(replace(SPEC, epoch=2))


async def test_it_is_suspended_and_started_again(server: FakeKubernetes, provisioner: KubernetesProvisioner) -> None:
    await provisioner.provision(SPEC)
    for ask, status in ((provisioner.pause, "paused"), (provisioner.stop, "stopped")):
        await provisioner.resume(SPEC.name)
        await provisioner.start(SPEC.name)
        for _ in range(2):
            await ask(SPEC.name)
            found = await provisioner.find(SPEC.name)
            assert found is not None
            assert found.status == status
        assert server.resources["Sandbox"][SPEC.name]["spec"]["operatingMode"] == "Suspended"
        assert not server.resources["Pod"]
        assert [line async for line in provisioner.logs(SPEC.name)] == []
    await provisioner.resume(SPEC.name)
    (found,) = await provisioner.list()
    assert found.status == "stopped"
    assert (await provisioner.start(SPEC.name)).status == "running"
    await provisioner.delete(SPEC.name)
    await provisioner.delete(SPEC.name)
    await provisioner.stop(SPEC.name)
    assert await provisioner.list() == []
    with pytest.raises(NotThere):
        await provisioner.start(SPEC.name)


@pytest.mark.parametrize(
    ("code", "reason", "memory"), [(0, "Completed", False), (1, "Error", False), (137, "OOMKilled", True)]
)
async def test_what_ended_by_itself_is_told_and_stays_so_until_it_is_started(
    server: FakeKubernetes, provisioner: KubernetesProvisioner, code: int, reason: str, *, memory: bool
) -> None:
    await provisioner.provision(SPEC)
    server.ends(code, reason)
    (found,) = await provisioner.list()
    assert (found.status, found.exit_code, found.out_of_memory) == ("stopped", code, memory)
    assert (await provisioner.start(SPEC.name)).status == "running"


async def test_changes_are_told_as_they_come(server: FakeKubernetes, provisioner: KubernetesProvisioner) -> None:
    changes = provisioner.changes()
    first = asyncio.ensure_future(anext(changes))
    await server.watched.wait()
    await provisioner.provision(SPEC)
    seen = [await first, await anext(changes)]
    server.ends(137, "OOMKilled")
    seen.append(await anext(changes))
    await provisioner.delete(SPEC.name)
    seen.append(await anext(changes))
    assert [(one.name, one.what) for one in seen] == [
        (SPEC.name, what) for what in ("create", "start", "oom", "destroy")
    ]
    server.end_watches()
    assert [one async for one in changes] == []


async def test_a_missing_image_fails_with_its_reason_and_leaves_nothing(
    server: FakeKubernetes, provisioner: KubernetesProvisioner
) -> None:
    with pytest.raises(ProvisionFailed, match="ErrImagePull") as failed:
        await provisioner.provision(replace(SPEC, image="no/such:image"))
    assert failed.value.reason == "image_missing"
    assert not any(server.resources[kind] for kind in ("Sandbox", "Pod", "Secret"))


async def test_a_cluster_without_room_fails_in_time_and_leaves_nothing(server: FakeKubernetes) -> None:
    server.has_room = False
    provisioner = KubernetesProvisioner(settings(server, start_seconds=0.1))
    with pytest.raises(ProvisionFailed, match="enough memory"):
        await provisioner.provision(SPEC)
    assert not server.resources["Sandbox"]
    await provisioner.close()


async def test_one_that_is_removed_while_it_starts_has_failed(
    server: FakeKubernetes, provisioner: KubernetesProvisioner
) -> None:
    server.has_room = False
    made = asyncio.ensure_future(anext(provisioner.changes()))
    await server.watched.wait()
    starting = asyncio.create_task(provisioner.provision(SPEC))
    await made
    await provisioner.delete(SPEC.name)
    with pytest.raises(ProvisionFailed, match="removed"):
        await starting


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"mounts": (Mount(Path("/etc"), "/etc"),)}, "not in /shared"),
        ({"mounts": (Mount(Path("/shared/w/../../etc"), "/etc"),)}, "not in /shared"),
        ({"mounts": (Mount(Path("/shared/"), "/shared"),)}, "as a whole"),
        ({"user": "0:0"}, "neither is 0"),
        ({"user": "1000:0"}, "neither is 0"),
        ({"name": "Not_A_Name"}, "no name for a pod"),
        ({"env": {"A B": "x"}}, "no name"),
        ({"purpose": "preview"}, "no image"),
    ],
)
async def test_what_cannot_be_is_refused_and_nothing_is_left(
    server: FakeKubernetes, provisioner: KubernetesProvisioner, changed: dict[str, Any], why: str
) -> None:
    with pytest.raises(ProvisionFailed, match=why):
        await provisioner.provision(replace(SPEC, **changed))
    assert not server.resources["Sandbox"]


async def test_without_a_claim_nothing_is_mounted(server: FakeKubernetes) -> None:
    provisioner = KubernetesProvisioner(settings(server, claim=None))
    with pytest.raises(ProvisionFailed, match="no claim"):
        await provisioner.provision(SPEC)
    assert (await provisioner.provision(replace(SPEC, mounts=()))).status == "running"
    await provisioner.close()


async def test_a_command_runs_inside_with_input_and_its_exit_code(
    server: FakeKubernetes, provisioner: KubernetesProvisioner
) -> None:
    await provisioner.provision(SPEC)
    result = await provisioner.exec(SPEC.name, ["exit", "3"])
    assert (result.exit_code, result.output) == (3, b"out err")
    secret = b"\x00" * 40_000 + b"auth"
    result = await provisioner.exec(SPEC.name, ["cat"], stdin=secret)
    assert (result.exit_code, result.output) == (0, secret + b"err")
    assert server.commands == [["exit", "3"], ["cat"]]
    with pytest.raises(TimeoutError):
        await provisioner.exec(SPEC.name, ["hang"], timeout_seconds=0.05)
    with pytest.raises(NotThere):
        await provisioner.exec("nothing", ["true"])
    server.exec_protocols = ("v4.channel.k8s.io",)
    assert (await provisioner.exec(SPEC.name, ["true"])).exit_code == 0
    with pytest.raises(NotSupported, match="stdin"):
        await provisioner.exec(SPEC.name, ["cat"], stdin=b"x")


async def test_logs_and_statistics_are_read(server: FakeKubernetes, provisioner: KubernetesProvisioner) -> None:
    await provisioner.provision(SPEC)
    lines = [one async for one in provisioner.logs(SPEC.name)]
    assert [(one.text, one.at) for one in lines] == [
        ("one", datetime(2026, 11, 21, 8, 0, 0, 123456, tzinfo=UTC)),
        ("two", datetime(2026, 11, 21, 8, 0, 1, tzinfo=UTC)),
    ]
    assert len([one async for one in provisioner.logs(SPEC.name, tail=1)]) == 1
    stats = provisioner.stats(SPEC.name)
    measured = [await anext(stats), await anext(stats)]
    assert [(one.cpu_percent, one.memory_bytes) for one in measured] == [(25.0, 64 * 1024**2)] * 2
    await provisioner.stop(SPEC.name)
    assert [one async for one in stats] == []
    server.has_metrics = False
    with pytest.raises(NotSupported, match="metrics"):
        await anext(provisioner.stats(SPEC.name))


async def test_what_another_installation_has_there_is_not_ours(
    server: FakeKubernetes, provisioner: KubernetesProvisioner
) -> None:
    others = KubernetesProvisioner(settings(server, installation="there"))
    await others.provision(replace(SPEC, owner_id="s-2"))
    assert await provisioner.list() == []
    assert await provisioner.find(SPEC.name) is None
    await provisioner.stop(SPEC.name)
    await provisioner.delete(SPEC.name)
    with pytest.raises(SandboxFault):
        await provisioner.provision(SPEC)
    assert [one.status for one in await others.list()] == ["running"]
    await others.close()


def test_quantities_are_read_in_all_their_units() -> None:
    read = [quantity(one) for one in ("250m", "12345n", "2", "1.5", "64Ki", "2Gi")]
    assert read == pytest.approx([0.25, 12345e-9, 2, 1.5, 65536, 2 * 1024**3])
    with pytest.raises(ValueError, match="not a quantity"):
        quantity("1Zi")
