"""A Git server with real repositories behind a sign-in, and a GitHub API that takes nothing amiss."""

import base64
import gzip
import json
import os
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .servers import served

USER, TOKEN = "bot", "test-token-a1b2c3d4e5f6a7b8"
_BACKEND = ["git", "http-backend"]


@dataclass
class GitServer:
    """`git http-backend` over HTTP. `asked` holds the Authorization header of each request."""

    root: Path
    url: str = ""
    token: str | None = TOKEN
    redirect: str | None = None
    hold: threading.Event | None = None
    waiting: threading.Event = field(default_factory=threading.Event)
    asked: list[str | None] = field(default_factory=list[str | None])

    def add(self, name: str, source: Path) -> str:
        """Serves a bare copy of a repository; returns its address."""
        bare = self.root / f"{name}.git"
        bare.parent.mkdir(parents=True, exist_ok=True)
        env = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        for words in (("clone", "-q", "--bare", source, bare), ("-C", bare, "config", "http.receivepack", "true")):
            subprocess.run(["git", *map(str, words)], env=env, check=True)
        return f"{self.url}/{name}.git"

    def bare(self, name: str) -> Path:
        return self.root / f"{name}.git"


class _Backend(BaseHTTPRequestHandler):
    server_of_git: GitServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ARG002
        return

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        if self.headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self._serve(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)

    def _serve(self, body: bytes) -> None:
        one = self.server_of_git
        given = self.headers.get("authorization")
        one.asked.append(given)
        if one.redirect:
            self.send_response(302)
            self.send_header("Location", one.redirect + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        expected = "Basic " + base64.b64encode(f"{USER}:{one.token}".encode()).decode()
        if one.token and given != expected:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if one.hold:
            one.waiting.set()
            one.hold.wait(30)
        self._answer(body)

    def _answer(self, body: bytes) -> None:
        parts = urlsplit(self.path)
        env = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server_of_git.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "REMOTE_USER": USER,
            "REMOTE_ADDR": "127.0.0.1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": parts.path,
            "QUERY_STRING": parts.query,
            "CONTENT_TYPE": self.headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_GIT_PROTOCOL": self.headers.get("git-protocol", ""),
        }
        done = subprocess.run(_BACKEND, env=env, input=body, capture_output=True, check=False)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@dataclass
class GitHubServer:
    """Pull requests as GitHub keeps them; whatever is not as documented is refused."""

    token: str = TOKEN
    url: str = ""
    repositories: set[str] = field(default_factory=set[str])
    branches: set[str] = field(default_factory=set[str])
    pulls: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    answer: tuple[int, dict[str, str], Any] | None = None
    """In place of what it would say."""


class _Api(BaseHTTPRequestHandler):
    github: GitHubServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ARG002
        return

    def do_GET(self) -> None:
        self._serve(None)

    def do_POST(self) -> None:
        self._serve(json.loads(self.rfile.read(int(self.headers["content-length"]))))

    def _serve(self, body: dict[str, Any] | None) -> None:
        status, headers, answer = self.github.answer or self._decide(body)
        content = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _decide(self, body: dict[str, Any] | None) -> tuple[int, dict[str, str], Any]:
        parts = urlsplit(self.path)
        if self.headers.get("authorization") != f"Bearer {self.github.token}":
            return 401, {}, {"message": "Bad credentials"}
        if self.headers.get("x-github-api-version") != "2022-11-28" or not self.headers.get("user-agent"):
            return 400, {}, {"message": "wrong version or no user agent"}
        if self.headers.get("accept") != "application/vnd.github+json":
            return 415, {}, {"message": "Unsupported 'Accept' header"}
        repository = parts.path.removeprefix("/repos/").removesuffix("/pulls")
        if repository not in self.github.repositories or not parts.path.endswith("/pulls"):
            return 404, {}, {"message": "Not Found"}
        owner = repository.split("/")[0]
        if body is None:
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            assert query["state"] == "open"
            return 200, {}, [
                one for one in self.github.pulls
                if f"{owner}:{one['head']['ref']}" == query["head"] and one["base"]["ref"] == query["base"]
            ]  # fmt: skip
        return self._create(owner, repository, body)

    def _create(self, owner: str, repository: str, body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        errors = [
            {"resource": "PullRequest", "code": "missing_field", "field": name}
            for name in ("title", "head", "base") if not isinstance(body.get(name), str) or not body[name]
        ]  # fmt: skip
        if errors or set(body) - {"title", "head", "base", "body", "draft"}:
            return 422, {}, {"message": "Validation Failed", "errors": errors}
        if body["base"] not in self.github.branches:
            errors = [{"resource": "PullRequest", "field": "base", "code": "invalid"}]
            return 422, {}, {"message": "Validation Failed", "errors": errors}
        for one in self.github.pulls:
            if one["head"]["ref"] == body["head"] and one["base"]["ref"] == body["base"]:
                said = f"A pull request already exists for {owner}:{body['head']}."
                return 422, {}, {"message": "Validation Failed", "errors": [{"code": "custom", "message": said}]}
        number = len(self.github.pulls) + 7
        made = {
            "number": number,
            "html_url": f"https://github.example/{repository}/pull/{number}",
            "title": body["title"],
            "body": body["body"],
            "draft": body["draft"],
            "head": {"ref": body["head"]},
            "base": {"ref": body["base"]},
        }
        self.github.pulls.append(made)
        return 201, {}, made


@contextmanager
def git_server(root: Path) -> Generator[GitServer]:
    """A Git server for the repositories below a folder."""
    one = GitServer(root)
    with served(type("Handler", (_Backend,), {"server_of_git": one})) as one.url:
        yield one


@contextmanager
def github_server() -> Generator[GitHubServer]:
    """A server of GitHub's API."""
    one = GitHubServer()
    with served(type("Handler", (_Api,), {"github": one})) as one.url:
        yield one
