"""What NetworkPolicies come to: whether one pod (or an address outside) may open a connection to another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

Resource = Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """A pod by its labels, or by an address somewhere outside the cluster."""

    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    namespace: str = "runyard"
    address: str | None = None
    ports: Mapping[str, int] = field(default_factory=dict[str, int])
    """Those that have names."""


def may_open(policies: Sequence[Resource], here: Place, there: Place, port: int, protocol: str = "TCP") -> bool:
    """Both ends have to allow it; a pod that no policy selects in a direction allows everything there."""
    door = Door(port, protocol, there.ports)
    return _allowed(policies, "Egress", here, there, door) and _allowed(policies, "Ingress", there, here, door)


def _allowed(policies: Sequence[Resource], direction: str, mine: Place, other: Place, door: "Door") -> bool:
    selecting = [
        policy["spec"]
        for policy in policies
        if mine.address is None
        and policy["metadata"]["namespace"] == mine.namespace
        and direction in policy["spec"]["policyTypes"]
        and _selects(policy["spec"]["podSelector"], mine.labels)
    ]
    peers = "to" if direction == "Egress" else "from"
    return not selecting or any(
        any(_is(peer, other, mine.namespace) for peer in rule[peers])
        and ("ports" not in rule or any(door.fits(one) for one in rule["ports"]))
        for spec in selecting
        for rule in spec[direction.lower()]
    )


def _is(peer: Resource, other: Place, namespace: str) -> bool:
    if (block := peer.get("ipBlock")) is not None:
        inside = other.address is not None and ip_address(other.address) in ip_network(block["cidr"])
        return inside and not any(ip_address(str(other.address)) in ip_network(one) for one in block.get("except", []))
    there = peer.get("namespaceSelector", {"matchLabels": {"kubernetes.io/metadata.name": namespace}})
    return (
        other.address is None
        and _selects(there, {"kubernetes.io/metadata.name": other.namespace})
        and _selects(peer.get("podSelector", {}), other.labels)
    )


def _selects(selector: Resource, labels: Mapping[str, str]) -> bool:
    wanted: Mapping[str, str] = selector.get("matchLabels", {})
    expressions: Sequence[Resource] = selector.get("matchExpressions", [])
    assert all(one["operator"] == "Exists" for one in expressions)
    return wanted.items() <= labels.items() and all(one["key"] in labels for one in expressions)


@dataclass(frozen=True)
class Door:
    """Where a connection is to end."""

    port: int
    protocol: str
    named: Mapping[str, int]

    def fits(self, one: Resource) -> bool:
        wanted = one["port"]
        port = self.named.get(wanted) if isinstance(wanted, str) else wanted
        return (one.get("protocol", "TCP"), port) == (self.protocol, self.port)
