"""What the composed product is made of, and what its services are told."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from runyard_stack.compose import write_compose
from runyard_stack.layout import Layout

SERVICES: dict[str, Any] = yaml.safe_load((Path(__file__).parents[3] / "compose.yaml").read_text())["services"]
PORTS = {
    "gateway": (9101, 8080),
    "runner-codex": (9102, 8081),
    "postgres": (9103, 5432),
    "runner-claude": (9104, 8082),
    "llm-gateway": (9108, 8086),
    "orchestrator": (9109, 8087),
    "workspace": (9110, 8088),
    "nats": (9111, 4222),
    "runner-acp": (9112, 8089),
}
"""Of this machine, and inside."""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(home=tmp_path / "home", port_base=9100)


@pytest.mark.parametrize("asked", [{}, {"PREVIEW_PROCESSES": "true", "PREVIEW_BUILDS": "false"}])
def test_no_preview_gets_the_orchestrator_s_own_container(layout: Layout, asked: dict[str, str]) -> None:
    write_compose(layout, asked)
    told = (layout.home / "compose/orchestrator.env").read_text().splitlines()
    assert [line for line in told if line.startswith("PREVIEW_PROCESSES=")] == ["PREVIEW_PROCESSES='false'"]
    assert ("PREVIEW_BUILDS='false'" in told) == bool(asked)


def test_ports_are_those_that_the_product_promises_and_on_loopback_alone(layout: Layout) -> None:
    variables, found = write_compose(layout, {}), dict[str, tuple[int, int]]()
    for name, service in SERVICES.items():
        for published in service.get("ports", ()):
            address, outside, inside = published.split(":")
            assert address == "127.0.0.1", name
            found[name] = int(variables[outside.removeprefix("${").removesuffix("}")]), int(inside)
    assert found == PORTS


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_no_root_and_held_within_limits(name: str) -> None:
    service = SERVICES[name]
    assert service["user"].startswith("${RUNYARD_UID")
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "pids_limit"} <= service.keys()
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc"} & service.keys()


def test_nothing_is_started_before_what_it_needs_and_all_say_how_they_are() -> None:
    begun = {name: service for name, service in SERVICES.items() if name not in ("nats", "postgres", "streams")}
    ready = {"streams": "service_completed_successfully", "postgres": "service_healthy"}
    for name, service in begun.items():
        assert {one: after["condition"] for one, after in service["depends_on"].items()} == ready, name
    assert SERVICES["streams"]["depends_on"] == {"nats": {"condition": "service_healthy"}}
    looked_at = {name for name, service in SERVICES.items() if service["healthcheck"].get("test")}
    assert looked_at == SERVICES.keys() - {"streams"}


def test_only_the_orchestrator_has_the_engine() -> None:
    holders = {name for name, service in SERVICES.items() if "docker.sock" in str(service.get("volumes"))}
    assert holders == {"orchestrator"}


@pytest.mark.parametrize(
    ("asked", "port"),
    [
        ({}, "9101"),
        ({"PREVIEW_PUBLIC_PORT": "80"}, "80"),
        ({"PREVIEW_DOMAIN": "preview.example.com", "PREVIEW_SCHEME": "https"}, None),
        ({"PREVIEW_SCHEME": "https", "PREVIEW_PUBLIC_PORT": "8443"}, "8443"),
    ],
)
def test_previews_are_at_the_port_of_this_machine_unless_something_stands_in_front(
    layout: Layout, asked: dict[str, str], port: str | None
) -> None:
    write_compose(layout, asked)
    told = (layout.home / "compose/gateway.env").read_text().splitlines()
    given = [line.partition("=")[2].strip("'") for line in told if line.startswith("PREVIEW_PUBLIC_PORT=")]
    assert given == ([port] if port else [])


def test_only_the_gateway_of_models_is_told_a_provider_s_key(layout: Layout) -> None:
    names = ("OPENAI_API_KEY", "CODEX_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY")
    write_compose(layout, {name: f"canary-{name}" for name in names})
    files = (layout.home / "compose").iterdir()
    assert {one.name for one in files if "canary-" in one.read_text()} == {"llm-gateway.env"}
    told = (layout.home / "compose/llm-gateway.env").read_text()
    assert "canary-ANTHROPIC_API_KEY" in told
