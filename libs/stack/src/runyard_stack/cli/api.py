"""The gateway's public HTTP API, as much of it as the commands need."""

import base64
import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

import httpx

from runyard_stack.cli.sse import Message, messages
from runyard_stack.credentials import read_credentials
from runyard_stack.embedded.ports import is_free
from runyard_stack.errors import StackError
from runyard_stack.layout import layout_from_environment
from runyard_stack.state import read_state
from runyard_stack.tokens import admin_token

NOT_FOUND = 404
ATTEMPTS = 4
FIRST_WAIT_SECONDS = 0.25
# An import is answered after a minute at the latest; a session's worktree may take longer.
TIMEOUT = httpx.Timeout(120, connect=5)
# The stream sends a heartbeat more often than this.
STREAM_TIMEOUT = httpx.Timeout(45, connect=5)


class ApiError(StackError):
    """The API answered with a problem."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        message = str(problem.get("detail") or problem.get("title") or f"The API answered {status}.")
        super().__init__(message, _remedy(status))
        self.status = status
        self.problem = problem
        self.type = str(problem.get("type", "")).rpartition("/")[2]


def _remedy(status: int) -> str:
    match status:
        case 401:
            return "Take a fresh token: `runyard token`, or RUNYARD_TOKEN for a stack that runs elsewhere."
        case _ if status >= 500:  # noqa: PLR2004
            return "`runyard status` and `runyard doctor` say what is wrong."
        case _:
            return ""


@dataclass(frozen=True)
class Target:
    """Where the API is, and with whose token to call it."""

    url: str
    token: str


def find_target(environment: Mapping[str, str] = os.environ) -> Target:
    """RUNYARD_URL and RUNYARD_TOKEN, else the stack of the local data folder.

    Raises:
        StackError: there is no such stack, or it does not run.
    """
    layout = layout_from_environment(environment)
    url, token = environment.get("RUNYARD_URL"), environment.get("RUNYARD_TOKEN")
    if url is None:
        state = read_state(layout)
        composed = (layout.home / "compose").is_dir() and not is_free(layout.port("gateway"))
        if state is None and not composed:
            raise StackError(
                f"No stack runs on {layout.home}.",
                "Start one with `runyard up`, or name another one with RUNYARD_URL and RUNYARD_TOKEN.",
            )
        url = state.addresses["gateway"] if state else layout.address("gateway")
    if token is None:
        credentials = read_credentials(layout.credentials)
        if credentials is None:
            raise StackError(
                "There is no token to call the API with.", "Set RUNYARD_TOKEN, or start a stack: `runyard up`."
            )
        token = admin_token(credentials, environment)
    return Target(url.rstrip("/"), token)


class Api:
    """Calls of one person; a write is sent again, under the same key, when the connection breaks."""

    def __init__(self, target: Target, transport: httpx.BaseTransport | None = None) -> None:
        self._target = target
        self._client = httpx.Client(
            base_url=target.url,
            headers={"Authorization": f"Bearer {target.token}"},
            timeout=TIMEOUT,
            transport=transport,
            trust_env=False,
        )

    def get(self, path: str, **query: str | int | None) -> dict[str, Any]:
        """A read."""
        return self._call("GET", path, params={name: value for name, value in query.items() if value is not None})

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A write."""
        return self._call("POST", path, json=body, headers={"Idempotency-Key": uuid.uuid4().hex})

    def put(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """A write that is the same however often it is sent."""
        return self._call("PUT", path, json=body)

    def delete(self, path: str) -> None:
        """Takes something away."""
        self._call("DELETE", path)

    @property
    def team(self) -> str:
        """The team that the token is for.

        Raises:
            StackError: it is no token of ours.
        """
        try:
            payload = self._target.token.split(".")[1]
            return str(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["tid"])
        except (IndexError, KeyError, ValueError) as error:
            raise StackError("The token names no team.", _remedy(HTTPStatus.UNAUTHORIZED)) from error

    def pages(self, path: str, **query: str | int | None) -> Iterator[dict[str, Any]]:
        """Every item of a listing, page by page."""
        cursor: int | None = None
        while True:
            page = self.get(path, **query, cursor=cursor)
            yield from page.get("items", [])
            cursor = page.get("next_cursor")
            if cursor is None:
                return

    def stream(self, path: str, last_id: str | None) -> Iterator[Message]:
        """Server-sent events after `last_id`, until the connection ends."""
        headers = {"Accept": "text/event-stream"}
        if last_id is not None:
            headers["Last-Event-ID"] = last_id
        with self._client.stream("GET", path, headers=headers, timeout=STREAM_TIMEOUT) as answer:
            if answer.is_error:
                answer.read()
                raise _problem(answer)
            yield from messages(answer.iter_lines())

    def _call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        for attempt in range(ATTEMPTS):
            try:
                answer = self._client.request(method, path, **arguments)
            except httpx.TransportError as error:
                if attempt + 1 == ATTEMPTS:
                    raise unreachable(self._target.url, error) from error
                time.sleep(FIRST_WAIT_SECONDS * 2**attempt)
                continue
            if answer.is_error:
                raise _problem(answer)
            return answer.json() if answer.content else {}
        raise AssertionError("the last attempt answers or raises")


def unreachable(url: str, error: Exception) -> StackError:
    """The error for an API that does not answer."""
    return StackError(
        f"The API at {url} does not answer: {error or type(error).__name__}.",
        "`runyard status` says what runs here; RUNYARD_URL names a stack that runs elsewhere.",
    )


def _problem(answer: httpx.Response) -> ApiError:
    try:
        body: object = json.loads(answer.content)
    except ValueError:
        body = {}
    return ApiError(answer.status_code, cast("dict[str, Any]", body) if isinstance(body, dict) else {})
