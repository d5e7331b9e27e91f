"""What a composed stack's services are told."""

from pathlib import Path

import pytest

from runyard_stack.compose import write_compose
from runyard_stack.layout import Layout


@pytest.mark.parametrize("asked", [{}, {"PREVIEW_PROCESSES": "true", "PREVIEW_BUILDS": "false"}])
def test_no_preview_gets_the_orchestrator_s_own_container(tmp_path: Path, asked: dict[str, str]) -> None:
    layout = Layout(home=tmp_path / "home", port_base=9100)
    write_compose(layout, asked)
    told = (layout.home / "compose/orchestrator.env").read_text().splitlines()
    assert [line for line in told if line.startswith("PREVIEW_PROCESSES=")] == ["PREVIEW_PROCESSES='false'"]
    assert ("PREVIEW_BUILDS='false'" in told) == bool(asked)
