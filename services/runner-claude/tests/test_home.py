"""What Claude keeps on disk for a session."""

import stat
import subprocess
import uuid
from pathlib import Path

import pytest

from runyard_runner_claude.adapters.home import Home, Opening, accepted_mode, allow_rules

THREAD = str(uuid.UUID(int=7))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "it's a session", "run-1")
    home.prepare("token-1")
    return home


def leave_transcript(home: Home, thread: str) -> None:
    folder = home.config / "projects" / "-workspaces-w1-repo"
    folder.mkdir(parents=True)
    (folder / f"{thread}.jsonl").write_text("{}\n")


def test_the_key_helper_prints_the_runs_token(home: Home) -> None:
    printed = subprocess.run(["sh", "-c", home.key_helper], capture_output=True, check=True, text=True)
    assert printed.stdout == "token-1"


def test_the_token_is_readable_by_its_owner_only_and_forgotten_after_the_run(home: Home) -> None:
    (token,) = [path for path in home.folder.iterdir() if path.is_file()]
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    home.prepare("token-2")
    assert token.read_text() == "token-2"
    home.forget_token()
    assert not token.exists()


def test_a_run_that_is_let_go_of_leaves_the_next_ones_token(home: Home) -> None:
    following = Home(home.folder, "run-2")
    following.prepare("token-2")
    home.forget_token()
    printed = subprocess.run(["sh", "-c", following.key_helper], capture_output=True, check=True, text=True)
    assert printed.stdout == "token-2"


def test_the_token_that_a_lost_run_has_left_is_removed_by_the_next_one(home: Home) -> None:
    Home(home.folder, "run-2").prepare("token-2")
    assert [path.read_text() for path in home.folder.glob(".token-*")] == ["token-2"]


def test_a_new_session_begins_under_our_own_id(home: Home) -> None:
    assert home.opening(THREAD, None) == Opening(session_id=THREAD)


def test_an_id_that_is_no_uuid_is_left_to_claude(home: Home) -> None:
    assert home.opening("thread-1", None) == Opening()


def test_a_bound_thread_is_resumed(home: Home) -> None:
    leave_transcript(home, THREAD)
    assert home.opening("another", THREAD) == Opening(resume=THREAD)


def test_a_thread_whose_run_died_before_it_was_bound_is_resumed_too(home: Home) -> None:
    leave_transcript(home, THREAD)
    assert home.opening(THREAD, None) == Opening(resume=THREAD)


def test_a_bound_thread_without_its_transcript_is_said_to_be_lost(home: Home) -> None:
    assert home.opening(THREAD, THREAD) == Opening(session_id=THREAD, lost=True)


def test_a_thread_id_is_a_name_and_no_pattern(home: Home) -> None:
    leave_transcript(home, THREAD)
    assert home.opening("*", None) == Opening()


def test_grants_are_kept_once(home: Home) -> None:
    rule = {"type": "addRules", "behavior": "allow", "rules": [{"toolName": "Bash", "ruleContent": "ls"}]}
    home.add_grants([rule])
    home.add_grants([rule])
    assert home.grants() == [rule]
    assert Home(home.folder.parent / "other", "run-1").grants() == []


def test_grants_become_rules_with_their_parentheses_escaped() -> None:
    allow = {
        "type": "addRules",
        "behavior": "allow",
        "rules": [{"toolName": "Bash", "ruleContent": "print(1)"}, {"toolName": "WebSearch"}],
    }
    assert allow_rules([allow, {**allow, "behavior": "deny"}]) == ["Bash(print\\(1\\))", "WebSearch"]


def test_the_last_accepted_mode_counts() -> None:
    assert accepted_mode([]) is None
    assert (
        accepted_mode([{"type": "setMode", "mode": "plan"}, {"type": "setMode", "mode": "acceptEdits"}])
        == "acceptEdits"
    )
