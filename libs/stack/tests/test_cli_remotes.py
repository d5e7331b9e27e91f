"""`runyard push` and `runyard credential`, against an API that answers as the gateway does."""

import io
import json
from collections.abc import Callable
from typing import Any

import httpx
import jwt
import pytest
from rich.console import Console
from typer.testing import CliRunner

from runyard_stack.cli import remotes, screen
from runyard_stack.cli.api import Api, Target
from runyard_stack.cli.app import app

TEAM = "11111111-2222-4333-8444-555555555555"
SESSION = "2f9a695e-be39-5b81-ad22-ed7527625a42"
SECRET = "test-token-a1b2c3d4e5f6a7b8"
PUSHED = {"branch": "runyard/2f9a695e", "commit": "c0ffee1234", "up_to_date": False, "left_out": ["big.bin"]}


class Gateway:
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.credentials: list[dict[str, Any]] = []
        self.answer: httpx.Response | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        self.asked.append((request.method, request.url.path, body))
        if self.answer is not None:
            return self.answer
        return self._usual(request.method, request.url.path, body)

    def _usual(self, method: str, path: str, body: Any) -> httpx.Response:
        answers = {
            "sessions": {"items": [{"session_id": SESSION}, {"session_id": TEAM}]},
            "push": PUSHED,
            "pull-request": {**PUSHED, "url": "https://github.com/o/r/pull/7", "number": 7},
            "credentials": {"items": self.credentials},
        }
        if method == "DELETE":
            return httpx.Response(204)
        return httpx.Response(200, json=body if method == "PUT" else answers[path.rpartition("/")[2]])


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    one = Gateway()
    token = jwt.encode({"tid": TEAM}, "k" * 32, algorithm="HS256")

    def an_api(_target: Target) -> Api:
        return Api(Target("http://gateway", token), httpx.MockTransport(one))

    def a_target() -> Target:
        return Target("http://gateway", token)

    monkeypatch.setattr(remotes, "Api", an_api)
    monkeypatch.setattr(remotes, "find_target", a_target)
    return one


@pytest.fixture
def runyard(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    beside = io.StringIO()
    for module in (remotes, screen):
        monkeypatch.setattr(module, "err", Console(file=beside, soft_wrap=True))

    def run(*arguments: str, expect: int = 0, stdin: str | None = None) -> str:
        done = CliRunner().invoke(app, list(arguments), input=stdin)
        assert done.exit_code == expect, done.output
        return done.output + beside.getvalue()

    return run


def test_a_session_is_pushed_by_the_beginning_of_its_id(gateway: Gateway, runyard: Callable[..., str]) -> None:
    said = runyard("push", "2f9a", "-m", "Why")
    assert gateway.asked[-1] == ("POST", f"/api/sessions/{SESSION}/push", {"branch": None, "message": "Why"})
    assert "runyard/2f9a695e" in said
    assert "big.bin" in said


def test_a_beginning_that_fits_none_is_said(gateway: Gateway, runyard: Callable[..., str]) -> None:
    runyard("push", "ffff", expect=1)
    assert len(gateway.asked) == 1


def test_a_pull_request_s_address_is_printed(gateway: Gateway, runyard: Callable[..., str]) -> None:
    said = runyard("push", SESSION, "--pull-request", "A title", "--base", "main", "--draft")
    asked = {"title": "A title", "body": "", "base": "main", "draft": True}
    assert gateway.asked == [("POST", f"/api/sessions/{SESSION}/pull-request", asked)]
    assert "https://github.com/o/r/pull/7" in said


def test_a_conflict_names_the_files(gateway: Gateway, runyard: Callable[..., str]) -> None:
    problem = {"type": "sync-conflict", "detail": "The remote has moved on.", "files": ["a.txt", "b.txt"]}
    gateway.answer = httpx.Response(409, json=problem)
    said = runyard("push", SESSION, expect=1)
    assert "The remote has moved on." in said
    assert "a.txt, b.txt" in said


def test_a_token_is_read_from_standard_input_and_never_repeated(gateway: Gateway, runyard: Callable[..., str]) -> None:
    said = runyard("credential", "set", "GitHub.com", stdin=f"{SECRET}\n")
    method, path, body = gateway.asked[-1]
    assert method == "PUT"
    assert path.startswith(f"/api/teams/{TEAM}/credentials/")
    assert body == {"host": "GitHub.com", "username": "x-access-token", "secret": SECRET}
    assert SECRET not in said


def test_a_host_s_credential_is_replaced_listed_and_removed(gateway: Gateway, runyard: Callable[..., str]) -> None:
    gateway.credentials = [{"credential_id": "c1", "host": "github.com", "username": "bot"}]
    runyard("credential", "set", "github.com", "--username", "bot", stdin=SECRET)
    assert gateway.asked[-1][1] == f"/api/teams/{TEAM}/credentials/c1"
    assert "github.com  bot  c1" in runyard("credential", "list")
    runyard("credential", "remove", "github.com")
    assert gateway.asked[-1] == ("DELETE", f"/api/teams/{TEAM}/credentials/c1", None)
    runyard("credential", "remove", "example.com", expect=1)


def test_no_token_is_no_credential(gateway: Gateway, runyard: Callable[..., str]) -> None:
    runyard("credential", "set", "github.com", stdin="\n", expect=1)
    assert gateway.asked == []
