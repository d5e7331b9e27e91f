"""Checks the stream of a running stack, as an outsider sees it: `python tests/e2e/sse_streaming.py --runner both`.

Imports a small repository, prompts each runner once and reads the run's events over SSE. Wrong headers, events
that come all at once, gaps in the numbers, a missing or a second end: each is named, and the exit status is 1.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

TERMINAL = {"run.completed", "run.error", "run.cancelled"}
PROMPT = "Count slowly. [[script: tokens 40 delay 25]]"
TIME_LIMIT = 120.0
SPREAD = 0.3
"""Seconds that the deltas of a message of a second must at least be apart, were they streamed."""


@dataclass
class Stream:
    """What came out of a run's stream, and when."""

    headers: httpx.Headers
    first_line: str = ""
    events: list[tuple[float, int, dict[str, Any]]] = field(default_factory=list[tuple[float, int, dict[str, Any]]])

    def times(self, type_: str) -> list[float]:
        return [at for at, _, event in self.events if event["type"] == type_]


def read(client: httpx.Client, run: str) -> Stream:
    """The whole stream of a run, until the server closes it."""
    started = time.monotonic()
    with client.stream("GET", f"/api/runs/{run}/events", timeout=TIME_LIMIT) as answer:
        answer.raise_for_status()
        stream = Stream(answer.headers)
        identifier = 0
        for line in answer.iter_lines():
            stream.first_line = stream.first_line or line
            if line.startswith("id: "):
                identifier = int(line.removeprefix("id: "))
            elif line.startswith("data: "):
                event = json.loads(line.removeprefix("data: "))
                stream.events.append((time.monotonic() - started, identifier, event))
    return stream


def faults(stream: Stream) -> Iterator[str]:
    """What is wrong with a stream."""
    wanted = {
        "content-type": "text/event-stream",
        "cache-control": "no-cache, no-transform",
        "x-accel-buffering": "no",
    }
    for name, value in wanted.items():
        if not stream.headers.get(name, "").startswith(value):
            yield f"header {name} is {stream.headers.get(name)!r}, not {value!r}"
    if stream.first_line != ": connected":
        yield f"the first line is {stream.first_line!r}, not ': connected'"
    yield from _faults_of_events([event for _, _, event in stream.events], [one for _, one, _ in stream.events])
    deltas = stream.times("ui.message.assistant.delta")
    if len(deltas) < 2 or deltas[-1] - deltas[0] < SPREAD:
        at = ", ".join(f"{each:.2f}" for each in deltas[:5])
        yield f"the message did not stream: {len(deltas)} deltas, at {at or 'no time'}"


def _faults_of_events(events: list[dict[str, Any]], identifiers: list[int]) -> Iterator[str]:
    if identifiers != sorted(set(identifiers)):
        yield "the ids do not rise"
    numbers: dict[str, list[int]] = defaultdict(list)
    for event in events:
        numbers[event["source"]].append(event["seq"])
    for source, found in numbers.items():
        if found != list(range(1, len(found) + 1)):
            yield f"the numbers of {source} have a gap or a repeat"
    ends = [event["type"] for event in events if event["type"] in TERMINAL]
    if ends != ["run.completed"] or events[-1]["type"] not in TERMINAL:
        yield f"the run ended with {ends or 'nothing'}, its last event is {events[-1]['type'] if events else 'none'}"


def prompt(client: httpx.Client, workspace: str, runner: str) -> str:
    """A new session's first run."""
    session = _post(client, "/api/sessions", workspace_id=workspace, runner_type=runner)["session_id"]
    return _post(client, f"/api/sessions/{session}/prompt", prompt=PROMPT)["run_id"]


def import_repository(client: httpx.Client, folder: Path) -> str:
    """A workspace with one commit."""
    folder.chmod(0o755)  # the stack may work as somebody else
    (folder / "README.md").write_text("# Streaming\n")
    git = ["git", "-C", str(folder), "-c", "user.name=e2e", "-c", "user.email=e2e@example.test"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *arguments], check=True)
    return _post(client, "/api/workspaces/import", source_type="local", source_uri=str(folder))["workspace_id"]


def _post(client: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    answer = client.post(path, json=body, timeout=60)
    if answer.is_error:
        sys.exit(f"POST {path}: {answer.status_code} {answer.text}")
    return answer.json()


def main() -> int:
    """Checks the chosen runners one after the other."""
    parser = argparse.ArgumentParser(description="Checks the event stream of a running stack.")
    parser.add_argument("--runner", choices=("codex", "claude", "both"), default="both")
    parser.add_argument("--url", default="http://127.0.0.1:9101")
    parser.add_argument(
        "--token", default=os.environ.get("RUNYARD_TOKEN"), help="default: RUNYARD_TOKEN, `runyard token`"
    )
    parser.add_argument(
        "--folder", help="where the small repository is made: somewhere that the stack sees; default: the system's own"
    )
    options = parser.parse_args()
    token = options.token or _own_token()
    runners = ("codex", "claude") if options.runner == "both" else (options.runner,)
    failed = False
    with (
        tempfile.TemporaryDirectory(prefix="runyard-streaming-", dir=options.folder) as folder,
        httpx.Client(base_url=options.url, headers={"Authorization": f"Bearer {token}"}) as client,
    ):
        workspace = import_repository(client, Path(folder))
        for runner in runners:
            stream = read(client, prompt(client, workspace, runner))
            wrong = list(faults(stream))
            failed = failed or bool(wrong)
            deltas = stream.times("ui.message.assistant.delta")
            at = f"first delta at {deltas[0]:.2f} s, " if deltas else ""
            sys.stdout.write(f"{runner}: {len(stream.events)} events, {at}{'; '.join(wrong) or 'all well'}\n")
    return int(failed)


def _own_token() -> str:
    made = subprocess.run([sys.executable, "-m", "runyard_stack", "token"], capture_output=True, text=True, check=False)
    if made.returncode:
        sys.exit(f"No token: give --token or RUNYARD_TOKEN. {made.stderr.strip()}")
    return made.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
