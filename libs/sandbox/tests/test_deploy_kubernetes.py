"""What deploy/kubernetes makes, and what its policies and those of the provisioner come to together."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from runyard_sandbox.kubernetes import Cluster, KubernetesSettings, Reach
from runyard_sandbox.kubernetes.manifests import network_policy, sandbox_manifest, secret_manifest
from runyard_sandbox.proxy.config import VARIABLE, decoded
from runyard_sandbox.shared import SharedFolder

from .on_kubernetes import SPEC
from .policies import Place, may_open

ROOT = Path(__file__).parents[3]
VERSIONS = ("1.30", "1.37")
Resource = dict[str, Any]

SETTINGS = KubernetesSettings(
    cluster=Cluster(address="https://nowhere", token=str),
    namespace="runyard",
    installation="here",
    images={"agent": "runyard/agent:1"},
    reach=Reach(
        service="runyard-proxy",
        proxy={"app.kubernetes.io/component": "runyard-proxy"},
        callers={"runyard/reads-previews": "true"},
    ),
    claim="runyard-files",
    shared=SharedFolder(Path("/shared")),
)
DOORS = {("TCP", 4222), ("TCP", 8086), ("TCP", 8080), ("TCP", 3128), ("UDP", 5353)}


def shipped() -> list[Resource]:
    files = sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
    return [resource for file in files for resource in yaml.safe_load_all(file.read_text())]


def of_kind(kind: str) -> Resource:
    (found,) = (one for one in shipped() if one["kind"] == kind)
    return found


def made() -> list[Resource]:
    """What the provisioner makes; of the Sandbox, whose schema is another project's, its pod."""
    pod = sandbox_manifest(SPEC, SETTINGS, proxy="10.96.0.53")["spec"]["podTemplate"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": SPEC.name, **pod["metadata"]}, "spec": pod["spec"]}
    return [pod, secret_manifest(SPEC, SETTINGS, "uid-1"), network_policy(SETTINGS)]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("resource", [*shipped(), *made()], ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_everything_is_as_kubernetes_publishes_it(resource: Resource, version: str) -> None:
    kubernetes_validate.validate(resource, version, strict=True)


def test_the_published_schemas_notice_what_does_not_belong() -> None:
    pod = made()[0]
    pod["spec"]["readOnlyRootFs"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, VERSIONS[-1], strict=True)


def test_the_proxy_listens_where_sandboxes_are_led_and_believes_no_address() -> None:
    told = decoded(of_kind("ConfigMap")["data"][VARIABLE], "between us")
    assert (told.subnets, told.pages, told.private_networks) == (None, None, ())
    (container,) = of_kind("Deployment")["spec"]["template"]["spec"]["containers"]
    ports = {one["name"]: (one.get("protocol", "TCP"), one["containerPort"]) for one in container["ports"]}
    listening = {("TCP", port) for port in (*told.forwards, told.egress_port)} | {("UDP", told.names_port)}
    assert set(ports.values()) == listening == DOORS
    offered = {one["port"]: ports[one["targetPort"]] for one in of_kind("Service")["spec"]["ports"]}
    assert offered == {4222: ("TCP", 4222), 8086: ("TCP", 8086), 8080: ("TCP", 8080)} | {
        3128: ("TCP", 3128),
        53: ("UDP", 5353),
    }


class Town:
    """Pods as the guide wants them labelled, and places outside."""

    policies = (network_policy(SETTINGS), next(one for one in shipped() if one["kind"] == "NetworkPolicy"))
    sandbox = Place(made()[0]["metadata"]["labels"])
    another = Place({**sandbox.labels, "runyard/sandbox": "another"})
    proxy = Place(
        of_kind("Deployment")["spec"]["template"]["metadata"]["labels"],
        ports={"nats": 4222, "llm-gateway": 8086, "gateway": 8080, "egress": 3128, "names": 5353},
    )
    nats = Place({"app.kubernetes.io/part-of": "runyard"})
    gateway = Place({"app.kubernetes.io/part-of": "runyard", "runyard/reads-previews": "true"})
    database = Place({"app": "postgres"})
    dns = Place({"k8s-app": "kube-dns"}, namespace="kube-system")
    elsewhere = Place(sandbox.labels, namespace="other")
    outside = Place(address="93.184.216.34")
    metadata = Place(address="169.254.169.254")
    house = Place(address="10.20.0.7")


def test_a_sandbox_reaches_the_doors_of_the_proxy_and_nothing_else() -> None:
    everything = [(protocol, port) for protocol in ("TCP", "UDP") for port in (22, 53, 80, 443, 5432, 6443, 8087)]
    everything += sorted(DOORS)
    for name, there in vars(Town).items():
        if not isinstance(there, Place) or there is Town.sandbox:
            continue
        open_doors = {
            (protocol, port)
            for protocol, port in everything
            if may_open(Town.policies, Town.sandbox, there, port, protocol)
        }
        assert open_doors == (DOORS if there is Town.proxy else set()), name


def test_only_who_reads_previews_reaches_a_sandbox() -> None:
    reaching = {
        name
        for name, here in vars(Town).items()
        if isinstance(here, Place) and may_open(Town.policies, here, Town.sandbox, 5173)
    }
    assert reaching == {"gateway"}


def test_the_proxy_serves_sandboxes_only_and_reaches_services_and_the_public_outside() -> None:
    def reaches(there: Place, port: int) -> bool:
        return may_open(Town.policies, Town.proxy, there, port)

    assert reaches(Town.outside, 443)
    assert reaches(Town.outside, 8443)
    assert reaches(Town.nats, 4222)
    assert reaches(Town.nats, 8087)
    assert may_open(Town.policies, Town.proxy, Town.dns, 53, "UDP")
    assert not any(reaches(one, 443) for one in (Town.metadata, Town.house, Town.database, Town.another))
    assert not reaches(Town.nats, 5432)
    callers = [Town.gateway, Town.nats, Town.elsewhere, Town.outside, Town.database]
    assert not any(may_open(Town.policies, one, Town.proxy, 3128) for one in callers)
