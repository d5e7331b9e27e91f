"""The API server that sandboxes on Kubernetes are asked of: found, asked again, away; and how strict our own one is."""

import ssl
from pathlib import Path

import httpx
import pytest

from runyard_sandbox import EngineAway, ProvisionFailed
from runyard_sandbox.kubernetes import Cluster, KubernetesProvisioner, KubernetesSettings, in_cluster
from runyard_sandbox.kubernetes.manifests import sandbox_manifest
from runyard_sandbox.remote import Patience

from .crds import faults
from .fake_kubernetes import NAMESPACE, PROXY, TOKEN, FakeKubernetes
from .on_kubernetes import SPEC, settings


async def test_what_may_be_repeated_is_tried_again_and_nothing_else(
    server: FakeKubernetes, provisioner: KubernetesProvisioner
) -> None:
    await provisioner.provision(SPEC)
    server.faults |= {"GET Sandbox": [500, 503], "PATCH Sandbox": [500], "DELETE Sandbox": [502]}
    await provisioner.stop(SPEC.name)
    await provisioner.delete(SPEC.name)
    server.faults["POST Sandbox"] = [500]
    server.asked.clear()
    with pytest.raises(ProvisionFailed) as failed:
        await provisioner.provision(SPEC)
    assert server.asked["POST Sandbox"] == 1
    assert TOKEN not in str(failed.value)
    server.faults["GET Pod"] = [500] * 3
    with pytest.raises(EngineAway, match=r"\*\*\*"):
        await provisioner.list()


async def test_a_server_that_does_not_answer_or_lets_nobody_in_is_away(server: FakeKubernetes) -> None:
    await _is_away(settings(server, cluster=Cluster(address="https://127.0.0.1:9", token=lambda: TOKEN)))
    wrong = Cluster(address=server.url, token=lambda: "another-token", authority=server.authority)
    assert "another-token" not in await _is_away(settings(server, cluster=wrong))
    assert "another-token" not in repr(wrong)
    unknown = Cluster(address=server.url, token=lambda: TOKEN)  # an authority that is not the system's
    assert "ConnectError" in await _is_away(settings(server, cluster=unknown))
    assert "403" in await _is_away(settings(server, namespace="kube-system"))
    server.faults["GET Sandbox"] = [0] * 2
    short = Patience(answer_seconds=0.05, attempts=2, first_pause_seconds=0.01)
    assert "ReadTimeout" in await _is_away(settings(server, patience=short))
    server.may_create = False
    provisioner = KubernetesProvisioner(settings(server))
    with pytest.raises(EngineAway, match="may not"):
        await provisioner.check()
    server.may_create = True
    await provisioner.check()
    await provisioner.close()


async def _is_away(chosen: KubernetesSettings) -> str:
    provisioner = KubernetesProvisioner(chosen)
    with pytest.raises(EngineAway) as away:
        await provisioner.find(SPEC.name)
    assert away.value.__context__ is None or away.value.__suppress_context__
    await provisioner.close()
    return str(away.value)


async def test_a_cluster_without_the_controller_is_away_with_the_remedy(
    server: FakeKubernetes, provisioner: KubernetesProvisioner
) -> None:
    server.has_controller = False
    for call in (provisioner.list(), provisioner.provision(SPEC)):
        with pytest.raises(EngineAway, match=r"404.*agent-sandbox"):
            await call


async def test_inside_a_cluster_address_token_and_authority_are_found_and_read_anew(
    server: FakeKubernetes, tmp_path: Path
) -> None:
    host, port = server.url.removeprefix("https://").split(":")
    (tmp_path / "ca.crt").write_bytes(server.authority.read_bytes())
    cluster = in_cluster(host, int(port), tmp_path)
    provisioner = KubernetesProvisioner(settings(server, cluster=cluster))
    with pytest.raises(EngineAway, match="cannot be read"):
        await provisioner.check()
    (tmp_path / "token").write_text("the last one\n")
    with pytest.raises(EngineAway):
        await provisioner.check()
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    await provisioner.check()
    await provisioner.close()


def test_the_schemas_notice_what_does_not_belong() -> None:
    class Nowhere:
        url, authority = "https://nowhere", None

    chosen = settings(Nowhere())  # type: ignore[arg-type]
    manifest = sandbox_manifest(SPEC, chosen, proxy=PROXY)
    assert faults(manifest) == []
    del manifest["spec"]["podTemplate"]["spec"]["containers"]
    manifest["spec"]["podTemplate"]["spec"]["readOnlyRootFs"] = True
    manifest["spec"]["operatingMode"] = "Paused"
    assert len(faults(manifest)) == 3


async def test_the_server_of_these_tests_takes_only_what_the_real_one_takes(server: FakeKubernetes) -> None:
    sandboxes = f"/apis/agents.x-k8s.io/v1beta1/namespaces/{NAMESPACE}/sandboxes"
    wrong = sandbox_manifest(SPEC, settings(server), proxy=PROXY)
    wrong["spec"]["podTemplate"]["spec"]["containers"][0]["resources"]["limits"]["memory"] = "2 GB"
    unnamed = {**sandbox_manifest(SPEC, settings(server), proxy=PROXY), "metadata": {"namespace": NAMESPACE}}
    tls = ssl.create_default_context(cafile=str(server.authority))
    async with httpx.AsyncClient(base_url=server.url, verify=tls, trust_env=False) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        assert (await client.post(sandboxes, json=wrong)).status_code == 422
        assert (await client.post(sandboxes, json=unnamed)).status_code == 422
        assert (await client.post(sandboxes, content=b"{}")).status_code == 415
        assert (await client.post(sandboxes, json={"kind": "Pod"})).status_code == 400
        assert (await client.get(f"{sandboxes}/nobody")).status_code == 404
        assert (await client.get(sandboxes.replace("v1beta1", "v1"))).status_code == 404
        assert (await client.get(sandboxes.replace(NAMESPACE, "default"))).status_code == 403
        assert (await client.delete(f"{sandboxes}/nobody")).status_code == 404
        for headers in ({"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
            assert (await client.get(sandboxes, headers=headers)).status_code == 401
