"""What gemini-cli is given: a way to the model, rules, and its conversation out of its own way."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from runyard_runner.adapter import AgentFailed, AgentStart
from runyard_runner_acp.adapters.agent import AcpAgent
from runyard_runner_acp.adapters.configurations import CONFIGURATIONS, environment, forget_secrets, write_settings
from runyard_runner_acp.adapters.gemini import keep_apart
from runyard_runner_acp.adapters.talk import Gemini
from runyard_runner_acp.settings import Settings

THREAD = "918a6a48-e1f2-448b-84b8-266931aae057"


def start(home: Path, **changes: Any) -> AgentStart:
    values: dict[str, Any] = {
        "run_id": "r",
        "session_id": "s",
        "thread_id": "t",
        "native_thread_id": None,
        "attempt": 1,
        "prompt": "do it",
        "cwd": home,
        "home": home,
        "model": None,
        "approval_policy": "on-request",
        "model_base_url": "http://gateway:8086",
        "run_token": "the-token",
        "env": {"PATH": "/nowhere"},
        **changes,
    }
    return AgentStart(**values)


def test_the_token_is_told_over_the_protocol_and_is_in_no_file_and_no_environment(tmp_path: Path) -> None:
    began = start(tmp_path)
    write_settings("gemini", began, "gemini-2.5-pro")
    given = environment("gemini", began, "gemini-2.5-pro")
    assert given["GOOGLE_GEMINI_BASE_URL"] == "http://gateway:8086"
    assert given["GEMINI_MODEL"] == "gemini-2.5-pro"
    written = "".join(one.read_text() for one in tmp_path.rglob("*") if one.is_file())
    assert "the-token" not in written + json.dumps(given)
    key = Gemini().key(began)
    assert key is not None
    assert key["_meta"] == {"api-key": "the-token"}
    forget_secrets("gemini", began)


def test_what_the_agent_has_made_of_its_rules_does_not_outlive_the_run(tmp_path: Path) -> None:
    rules = tmp_path / ".gemini" / "policies" / "runyard.toml"
    write_settings("gemini", start(tmp_path), "m")
    before = rules.read_text()
    everything = '[[rule]]\ntoolName = "*"\ndecision = "allow"\npriority = 900\n'
    for name in ("runyard.toml", "zz.toml"):
        (rules.parent / name).write_text(everything)
    (tmp_path / ".gemini" / "trustedFolders.json").write_text('{"/": "TRUST_FOLDER"}')
    write_settings("gemini", start(tmp_path), "m")
    assert rules.read_text() == before
    assert "run_shell_command" not in before
    assert list(rules.parent.iterdir()) == [rules]
    assert not (tmp_path / ".gemini" / "trustedFolders.json").exists()


def test_a_conversation_is_moved_once_and_what_its_resumption_leaves_is_let_alone(tmp_path: Path) -> None:
    chats = tmp_path / "tmp" / "repo" / "chats"
    chats.mkdir(parents=True)
    (chats / "session-2026-11-21T11-03-918a6a48.jsonl").write_text("all that was said")
    (chats / "session-2026-11-21T11-03-07b5a662.jsonl").write_text("another one's")
    keep_apart(tmp_path, THREAD)
    (chats / "session-2026-11-21T11-05-918a6a48.jsonl").write_text("begun by the resumption, without a word")
    keep_apart(tmp_path, THREAD)
    assert (chats / "session-kept-918a6a48.jsonl").read_text() == "all that was said"
    assert len(list(chats.iterdir())) == 3


def test_a_session_that_names_no_model_has_one_of_its_agents_maker(tmp_path: Path) -> None:
    settings = Settings(agents_root=tmp_path, run_token_key=SecretStr("k"))
    assert settings.model_of("gemini") == "gemini-2.5-pro"
    assert settings.model_of("opencode") == "gpt-5.5"


async def test_without_node_the_remedy_is_told(tmp_path: Path) -> None:
    agent = CONFIGURATIONS["gemini"]
    program = tmp_path / f"gemini-{agent.version}" / agent.program
    program.parent.mkdir(parents=True)
    program.touch()
    settings = Settings(agents_root=tmp_path, acp_installs=tmp_path, run_token_key=SecretStr("k"))
    turn = await AcpAgent(agent, settings).start(start(tmp_path))
    with pytest.raises(AgentFailed, match="Install Node 20 or newer") as failed:
        async for _ in turn:
            pass
    assert failed.value.reason == "start_failed"
    await turn.close()
