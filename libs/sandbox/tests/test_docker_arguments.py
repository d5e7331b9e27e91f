"""From what is to run to the engine's own JSON."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runyard_sandbox import Health, Limits, Mount, ProvisionFailed, Spec
from runyard_sandbox.docker.arguments import Place, create_arguments
from runyard_sandbox.docker.labels import epoch_of, pages_of, purpose_of
from runyard_sandbox.provisioner import GIB, MIB

PLACE = Place(network="runyard-x-10.213.0.8", address="10.213.0.11", proxy="10.213.0.10", pages={3000: 5001})


def spec(**changes: Any) -> Spec:
    given: dict[str, Any] = {
        "name": "runyard-1234-1",
        "purpose": "agent",
        "tenant_id": "tenant",
        "owner_id": "12345678-session",
        "epoch": 3,
        "image": None,
        "limits": Limits(2 * GIB, 1.5, 256, reserved_memory_bytes=512 * MIB, reserved_cpus=0.25),
    }
    return Spec(**given | changes)


def arguments(place: Place | None = PLACE, **changes: Any) -> dict[str, Any]:
    return create_arguments(
        spec(**changes), installation="x", image="image", user="10001:10001", init=True, place=place
    )


def test_every_container_has_the_whole_profile() -> None:
    body = arguments()
    host = body["HostConfig"]
    assert body["User"] == "10001:10001"
    assert host["Memory"] == host["MemorySwap"] == 2 * GIB
    assert (host["NanoCpus"], host["PidsLimit"]) == (1_500_000_000, 256)
    assert (host["MemoryReservation"], host["CpuShares"]) == (512 * MIB, 256)
    assert host["CapDrop"] == ["ALL"]
    assert "CapAdd" not in host
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert (host["ReadonlyRootfs"], host["Privileged"], host["Init"]) == (True, False, True)
    assert set(host["Tmpfs"]) == {"/tmp", "/run/secrets"}  # noqa: S108
    assert "mode=0700,uid=10001,gid=10001" in host["Tmpfs"]["/run/secrets"]
    assert host["LogConfig"]["Type"] == "json-file"
    assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "2"}
    assert host["RestartPolicy"] == {"Name": "no"}


def test_places_of_its_own_are_fresh_or_empty() -> None:
    body = arguments(volumes=("/app/node_modules",), scratch=("/data",))
    assert body["Volumes"] == {"/app/node_modules": {}}
    assert body["HostConfig"]["Tmpfs"]["/data"].startswith("rw,nosuid,nodev,exec,mode=1777,size=")


def test_one_of_a_group_knows_the_others_and_nobody_else_is_told_of_it() -> None:
    place = replace(PLACE, neighbours={"db": "10.213.0.11", "web": "10.213.0.12"})
    body = arguments(place, group="runyard-preview-x-1", alias="db", neighbours=("db", "web"))
    assert body["HostConfig"]["ExtraHosts"] == ["runyard:10.213.0.10", "db:10.213.0.11", "web:10.213.0.12"]
    # The proxy is on its network too, and asks the engine's resolver for the services' names.
    assert body["NetworkingConfig"]["EndpointsConfig"][PLACE.network] == {"IPAMConfig": {"IPv4Address": PLACE.address}}
    assert (body["Labels"]["runyard.group"], body["Labels"]["runyard.alias"]) == ("runyard-preview-x-1", "db")


def test_it_is_labelled_with_whose_it_is() -> None:
    labels = arguments(expires_at=datetime(2030, 1, 2, tzinfo=UTC))["Labels"]
    assert labels == {
        "runyard.installation": "x",
        "runyard.kind": "sandbox",
        "runyard.tenant": "tenant",
        "runyard.owner": "12345678-session",
        "runyard.purpose": "agent",
        "runyard.epoch": "3",
        "runyard.expires": "2030-01-02T00:00:00+00:00",
        "runyard.network": "runyard-x-10.213.0.8",
        "runyard.address": "10.213.0.11",
        "runyard.page.3000": "5001",
    }
    assert (purpose_of(labels), epoch_of(labels), pages_of(labels)) == ("agent", 3, {3000: 5001})


def test_it_knows_the_proxy_and_resolves_no_names() -> None:
    body = arguments(env={"HTTPS_PROXY": "http://other:1", "A": "b"})
    assert body["HostConfig"]["ExtraHosts"] == ["runyard:10.213.0.10"]
    assert body["HostConfig"]["Dns"] == ["10.213.0.10"]
    assert body["HostConfig"]["NetworkMode"] == PLACE.network
    endpoints = body["NetworkingConfig"]["EndpointsConfig"]
    assert endpoints == {PLACE.network: {"IPAMConfig": {"IPv4Address": PLACE.address}}}
    assert "http_proxy=http://runyard:3128" in body["Env"]
    # What the caller says goes before.
    assert [each for each in body["Env"] if each.startswith("HTTPS_PROXY=")] == ["HTTPS_PROXY=http://other:1"]


def test_without_a_place_it_has_no_network() -> None:
    body = arguments(place=None)
    assert body["HostConfig"]["NetworkMode"] == "none"
    assert body["Env"] == []


@pytest.mark.parametrize("user", ["0:0", "0:1", "1:0", "root", "1000", "-1:5", "", ":"])
def test_root_is_refused(user: str) -> None:
    with pytest.raises(ProvisionFailed):
        create_arguments(spec(), installation="x", image="i", user=user, init=True, place=None)


@pytest.mark.parametrize(
    "source", ["/", "/var", "/run", "/var/run", "/var/run/docker.sock", "/run/docker.sock", "relative", "/a/../b"]
)
def test_a_mount_that_gives_away_the_host_or_the_engine_is_refused(source: str) -> None:
    with pytest.raises(ProvisionFailed):
        arguments(mounts=(Mount(Path(source), "/work"),))


def test_mounts_are_private_binds() -> None:
    mounts = arguments(mounts=(Mount(Path("/data/a"), "/data/a"), Mount(Path("/data/b"), "/b", read_only=True)))
    assert mounts["HostConfig"]["Mounts"] == [
        {
            "Type": "bind",
            "Source": source,
            "Target": target,
            "ReadOnly": read_only,
            "BindOptions": {"Propagation": "rprivate"},
        }
        for source, target, read_only in (("/data/a", "/data/a", False), ("/data/b", "/b", True))
    ]


def test_health_is_as_asked_and_never_the_images_own() -> None:
    assert arguments()["Healthcheck"] == {"Test": ["NONE"]}
    health = arguments(health=Health(("true",)))["Healthcheck"]
    assert health == {
        "Test": ["CMD", "true"],
        "Interval": 30_000_000_000,
        "Timeout": 5_000_000_000,
        "Retries": 3,
        "StartPeriod": 120_000_000_000,
    }


def test_a_command_replaces_the_images_entry_point() -> None:
    assert "Entrypoint" not in arguments()
    body = arguments(command=("sh", "-c", "x"), working_directory="/work", runtime="runsc")
    assert (body["Entrypoint"], body["Cmd"]) == (["sh"], ["-c", "x"])
    assert body["WorkingDir"] == "/work"
    assert body["HostConfig"]["Runtime"] == "runsc"
