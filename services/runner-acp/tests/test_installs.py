"""What a person reads when an agent cannot be installed, and that nothing half is left."""

from pathlib import Path

import pytest

from runyard_runner.adapter import AgentFailed
from runyard_runner_acp.adapters import npm
from runyard_runner_acp.adapters.configurations import CONFIGURATIONS
from runyard_runner_acp.adapters.installs import Installs
from runyard_runner_acp.settings import Settings

AGENT = CONFIGURATIONS["droid"]


def programs(folder: Path, **scripts: str) -> str:
    """A folder of programs that stand in for npm and node."""
    folder.mkdir()
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


async def installed(installs: Installs) -> list[str]:
    return [words async for words in installs.install(AGENT)]


async def test_without_npm_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AgentFailed, match="Install Node 20 or newer") as failed:
        await installed(Installs(tmp_path / "agents"))
    assert failed.value.reason == "start_failed"


async def test_an_old_node_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", programs(tmp_path / "bin", npm="exit 1", node="echo v16.1.0"))
    with pytest.raises(AgentFailed, match=r"v16.1.0 is too old"):
        await installed(Installs(tmp_path / "agents"))


async def test_a_failed_installation_leaves_nothing_and_says_what_npm_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "mkdir node_modules; echo 'npm error network is down'; exit 1"
    monkeypatch.setenv("PATH", programs(tmp_path / "bin", npm=script, node="echo v20.0.0"))
    installs = Installs(tmp_path / "agents")
    with pytest.raises(AgentFailed, match="network is down"):
        await installed(installs)
    assert installs.program(AGENT) is None
    assert [one.name for one in (tmp_path / "agents").iterdir()] == [".droid.lock"]


async def test_an_installation_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", programs(tmp_path / "bin", npm="exec sleep 60", node="echo v20.0.0"))
    with pytest.raises(AgentFailed, match="runyard agents install droid"):
        await installed(Installs(tmp_path / "agents", seconds=0.3))


async def test_an_agent_is_installed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = f"mkdir -p $(dirname {AGENT.program}); touch {AGENT.program}"
    monkeypatch.setenv("PATH", programs(tmp_path / "bin", npm=script, node="echo v20.0.0"))
    installs = Installs(tmp_path / "agents")
    assert len(await installed(installs)) == 2  # that it begins, and that it is done
    assert await installed(installs) == []
    assert installs.program(AGENT) is not None


async def test_in_an_image_nothing_is_installed_and_the_remedy_is_another_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"mkdir -p $(dirname {AGENT.program}); touch {AGENT.program}"
    monkeypatch.setenv("PATH", programs(tmp_path / "bin", npm=script, node="echo v20.0.0"))
    installs = Installs(tmp_path / "agents", sealed=True)
    with pytest.raises(AgentFailed, match='make images AGENTS="droid') as failed:
        await installed(installs)
    assert failed.value.reason == "start_failed"
    assert not (tmp_path / "agents").exists()


def test_an_images_agents_are_the_only_ones(tmp_path: Path) -> None:
    settings = Settings(acp_installs=tmp_path / "written-by-agents", acp_bundled=tmp_path / "image")
    assert settings.installs == tmp_path / "image"


def test_npm_puts_each_agent_where_it_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = f"echo $@ >said; mkdir -p $(dirname {AGENT.program}); touch {AGENT.program}"
    monkeypatch.setenv("PATH", programs(tmp_path / "bin", npm=script))
    npm.main(AGENT.lock.parent, tmp_path / "image", "droid")
    assert Installs(tmp_path / "image", sealed=True).program(AGENT) is not None
    place = tmp_path / "image" / f"droid-{AGENT.version}"
    assert "--ignore-scripts" in (place / "said").read_text()
    assert (place / "package-lock.json").read_text() == AGENT.lock.read_text()


def test_an_unknown_agent_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"No agent codex comes from npm\. One of: droid"):
        npm.main(AGENT.lock.parent, tmp_path, "codex")
