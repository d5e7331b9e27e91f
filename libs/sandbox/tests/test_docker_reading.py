"""From the engine's JSON, and from a pool to subnets."""

from ipaddress import IPv4Network
from typing import Any

import pytest

from runyard_sandbox.docker.labels import of_spec
from runyard_sandbox.docker.reading import from_inspection, from_stats, from_summary, stamp
from runyard_sandbox.docker.subnets import Slot, SubnetPool, slot_of
from runyard_sandbox.provisioner import Spec

LABELS = of_spec(
    "x",
    Spec(name="n", purpose="preview", tenant_id="t", owner_id="o", epoch=2, image=None),
) | {"runyard.page.3000": "5001"}


def inspection(**state: Any) -> dict[str, Any]:
    given = {"Status": "running", "ExitCode": 0, "OOMKilled": False, "Health": None}
    return {
        "Id": "abc",
        "Name": "/n",
        "Created": "2026-11-21T07:22:54.123456789Z",
        "State": given | state,
        "Config": {"Labels": LABELS},
    }


def test_a_running_one() -> None:
    found = from_inspection(inspection(Health={"Status": "healthy"}), "127.0.0.1")
    assert (found.name, found.status, found.purpose, found.epoch) == ("n", "running", "preview", 2)
    assert (found.healthy, found.exit_code, found.addresses) == (True, None, {3000: "127.0.0.1:5001"})


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("created", "creating"),
        ("paused", "paused"),
        ("exited", "stopped"),
        ("removing", "stopped"),
        ("dead", "error"),
        ("unheard of", "error"),
    ],
)
def test_every_state_of_the_engine_has_a_status(state: str, status: str) -> None:
    assert from_inspection(inspection(Status=state), "h").status == status


def test_how_it_ended() -> None:
    found = from_inspection(inspection(Status="exited", ExitCode=137, OOMKilled=True), "h")
    assert (found.exit_code, found.out_of_memory) == (137, True)


@pytest.mark.parametrize(
    ("words", "healthy"),
    [("Up 3 s", None), ("Up 3 s (healthy)", True), ("Up (health: starting)", None)],
)
def test_a_line_of_the_list_says_enough_of_a_running_one(words: str, healthy: bool | None) -> None:  # noqa: FBT001
    line = {"Id": "abc", "Names": ["/n"], "State": "running", "Status": words, "Created": 1, "Labels": LABELS}
    found = from_summary(line, "h")
    assert found is not None
    assert (found.healthy, found.owner_id) == (healthy, "o")
    assert from_summary(line | {"State": "exited"}, "h") is None
    assert from_summary(line | {"Status": "Up 3 s (unhealthy)"}, "h") is None


@pytest.mark.parametrize(
    ("health", "healthy"),
    [
        ({"Status": "unhealthy", "FailingStreak": 4}, False),
        ({"Status": "unhealthy", "FailingStreak": 3}, None),
        ({"Status": "unhealthy", "FailingStreak": 0}, None),
        ({"Status": "starting", "FailingStreak": 3}, None),
        ({"Status": "healthy", "FailingStreak": 0}, True),
        (None, None),
    ],
)
def test_one_that_was_paused_is_not_taken_for_one_that_fails(
    health: dict[str, Any] | None,
    healthy: bool | None,  # noqa: FBT001
) -> None:
    data = inspection(Health=health)
    data["Config"]["Healthcheck"] = {"Retries": 4}
    assert from_inspection(data, "h").healthy is healthy


@pytest.mark.parametrize(("state", "status"), [("created", "creating"), ("paused", "paused"), ("running", "running")])
def test_a_line_of_the_list_says_enough_of_all_that_have_not_ended(state: str, status: str) -> None:
    line = {"Id": "abc", "Names": ["/n"], "State": state, "Status": "", "Created": 1, "Labels": LABELS}
    found = from_summary(line, "h")
    assert found is not None
    assert (found.status, found.exit_code) == (status, None)


def test_a_reading_counts_what_was_used_since_the_last() -> None:
    reading = {
        "read": "2026-11-21T07:22:54.1Z",
        "cpu_stats": {"cpu_usage": {"total_usage": 600}, "system_cpu_usage": 3000, "online_cpus": 2},
        "precpu_stats": {"cpu_usage": {"total_usage": 100}, "system_cpu_usage": 1000},
        "memory_stats": {"usage": 1000, "limit": 5000, "stats": {"total_inactive_file": 300}},
        "pids_stats": {"current": 7},
        "networks": {"eth0": {"rx_bytes": 1, "tx_bytes": 2}, "eth1": {"rx_bytes": 10, "tx_bytes": 20}},
    }
    found = from_stats(reading)
    assert found is not None
    assert (found.cpu_percent, found.memory_bytes, found.memory_limit_bytes) == (50.0, 700, 5000)
    assert (found.processes, found.received_bytes, found.sent_bytes) == (7, 11, 22)
    first = from_stats(reading | {"precpu_stats": {"cpu_usage": {"total_usage": 0}}})
    assert first is not None
    assert first.cpu_percent == 0


def test_a_reading_of_one_at_rest_is_none() -> None:
    assert from_stats({"read": "0001-01-01T00:00:00Z", "memory_stats": {}}) is None
    assert stamp("0001-01-01T00:00:00Z") is None


def test_a_slot_has_its_addresses() -> None:
    slot = slot_of({"Name": "n", "IPAM": {"Config": [{"Subnet": "10.213.0.8/29"}]}})
    assert slot is not None
    assert slot == Slot("n", IPv4Network("10.213.0.8/29"))
    assert (slot.proxy, slot.sandbox) == ("10.213.0.10", "10.213.0.11")
    assert slot_of({"Name": "n", "IPAM": {"Config": None}}) is None


def test_subnets_come_in_turn_without_those_taken() -> None:
    pool = SubnetPool("10.0.0.0/27", 29)
    assert len(pool) == 4
    taken = {IPv4Network("10.0.0.8/30")}
    assert str(next(pool.candidates(taken))) == "10.0.0.0/29"
    assert str(next(pool.candidates(taken))) == "10.0.0.16/29"
    assert [str(each) for each in pool.candidates(taken)] == ["10.0.0.24/29", "10.0.0.0/29", "10.0.0.16/29"]
    assert not list(pool.candidates({IPv4Network("10.0.0.0/8")}))


def test_after_a_restart_subnets_go_on_behind_those_in_use() -> None:
    pool = SubnetPool("10.0.0.0/27", 29)
    pool.skip_to(IPv4Network("10.0.0.8/29"))
    pool.skip_to(IPv4Network("192.168.0.0/29"))
    assert str(next(pool.candidates(set()))) == "10.0.0.16/29"
    pool.skip_to(IPv4Network("10.0.0.24/29"))
    assert str(next(pool.candidates(set()))) == "10.0.0.0/29"


@pytest.mark.parametrize(("cidr", "prefix"), [("10.0.0.0/16", 30), ("10.0.0.0/28", 24), ("10.0.0.0/8", 12)])
def test_a_pool_that_cannot_be_is_refused(cidr: str, prefix: int) -> None:
    with pytest.raises(ValueError, match="networks cannot be taken"):
        SubnetPool(cidr, prefix)
