"""The script that people check their own stack's stream with says so when all is well, and when something is not."""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Stack

pytestmark = [pytest.mark.agents, pytest.mark.timeout(180)]
SCRIPT = Path(__file__).parent / "sse_streaming.py"


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)


def test_both_runners_stream(stack: "Stack", token: str, repository: Path) -> None:
    done = check("--runner", "both", "--url", stack.url, "--token", token, "--folder", str(repository.parent))
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["codex", "claude"]
    assert done.stdout.count("all well") == 2


def test_a_wrong_token_is_named(stack: "Stack", repository: Path) -> None:
    done = check("--url", stack.url, "--token", "wrong", "--folder", str(repository.parent))
    assert done.returncode == 1
    assert "401" in done.stderr
