"""A run at the terminal: its transcript, its questions, its diff and what it cost."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import typer
from rich.text import Text

from runyard_stack.cli.api import NOT_FOUND, Api, ApiError
from runyard_stack.cli.approvals import ask_decision
from runyard_stack.cli.follow import TERMINAL, follow
from runyard_stack.cli.interrupts import Interrupts
from runyard_stack.cli.screen import err, out
from runyard_stack.cli.transcript import Line, Transcript

EXIT_CODES = {"run.completed": 0, "run.error": 1, "run.cancelled": 130}
DIFF_SECONDS = 5.0
DIFF_POLL_SECONDS = 0.1
DIFF_STYLES = {"+": "green", "-": "red", "@": "cyan", "d": "bold"}


class Watch:
    """Shows a run while it goes on, and asks the person what the agent asks."""

    def __init__(self, api: Api, run_id: str, *, as_json: bool = False, speed: float = 0) -> None:
        self._api = api
        self._speed = speed
        self._run_id = run_id
        self._json = as_json
        self._transcript = Transcript()
        self._interrupts = Interrupts(self._cancel)

    def until_end(self) -> int:
        """Show everything up to the run's end; the exit code that it stands for."""
        kind = ""
        events = follow(self._api, f"/api/runs/{self._run_id}/events", TERMINAL, self._lost)
        with self._interrupts.caught():
            try:
                for event in paced(events, self._speed):
                    kind = str(event.get("type"))
                    self._show(event)
                    if kind == "ui.approval.requested":
                        self._approval(event["payload"])
            except KeyboardInterrupt:
                show(self._transcript.close())
                err.print(f"The run goes on by itself: runyard replay {self._run_id}")
                return EXIT_CODES["run.cancelled"]
        return EXIT_CODES.get(kind, 1)

    def _show(self, event: Mapping[str, Any]) -> None:
        if self._json:
            sys.stdout.write(json.dumps(event, ensure_ascii=False) + "\n")
            sys.stdout.flush()
        else:
            show(self._transcript.feed(event))

    def _lost(self) -> None:
        show(self._transcript.close())
        err.print("… connection lost, coming back", style="dim")

    def _cancel(self) -> None:
        err.print("\nAsking the agent to stop (Ctrl-C again to leave it to itself) ...", style="yellow")
        try:
            self._api.post(f"/api/runs/{self._run_id}/cancel")
        except Exception as error:  # noqa: BLE001 - a thread of its own: nobody else would say it
            err.print(f"It could not be asked: {error}", style="red", markup=False)

    def _approval(self, approval: Mapping[str, Any]) -> None:
        approval_id = str(approval.get("approvalId"))
        if self._json or not (sys.stdin.isatty() and out.is_terminal):
            err.print(f"  Answer with: runyard approve {self._run_id} {approval_id} [--decline]", markup=False)
            return
        if self._is_answered(approval_id):
            return
        try:
            with self._interrupts.answering():
                body = ask_decision(approval, input)
        except (EOFError, KeyboardInterrupt):
            self._interrupts.stop()
            return
        try:
            self._api.post(f"/api/runs/{self._run_id}/approvals/{approval_id}", body)
        except ApiError as error:
            err.print(f"  {error.message}", style="yellow", markup=False)

    def _is_answered(self, approval_id: str) -> bool:
        """Whether the question is from before: a log that is read again has its answers further down."""
        approvals = self._api.get(f"/api/runs/{self._run_id}/approvals").get("items", [])
        states = {one.get("approval_id"): one.get("status") for one in approvals}
        return states.get(approval_id, "open") != "open"


def show(lines: Iterable[Line]) -> None:
    """Print lines of a transcript as they are."""
    for line in lines:
        out.print(Text(line.text, style=line.style), end=line.end)


def paced(
    events: Iterable[dict[str, Any]], speed: float, sleep: Callable[[float], None] = time.sleep
) -> Iterator[dict[str, Any]]:
    """The events with the pauses that were between them, divided by `speed`; 0 is without pauses."""
    before: datetime | None = None
    for event in events:
        at = datetime.fromisoformat(str(event["at"])) if speed and event.get("at") else None
        if at is not None and before is not None and at > before:
            sleep((at - before).total_seconds() / speed)
        before = at or before
        yield event


def run_diff(api: Api, run: Mapping[str, Any]) -> dict[str, Any]:
    """What a run changed: its checkpoint, which follows the run's end by a moment."""
    deadline = time.monotonic() + DIFF_SECONDS
    while True:
        try:
            return api.get(f"/api/runs/{run['run_id']}/diff")
        except ApiError as error:
            if error.status != NOT_FOUND or time.monotonic() > deadline:
                raise
        time.sleep(DIFF_POLL_SECONDS)


def show_diff(diff: Mapping[str, Any]) -> None:
    """Print a patch in the colours that people know."""
    for line in str(diff.get("patch") or "").splitlines():
        heading = line.startswith(("+++", "---"))
        style = "bold" if heading else DIFF_STYLES.get(line[:1], "")
        show([Line(line, style)])
    if diff.get("truncated"):
        out.print("… the diff is longer than what is shown", style="dim")


def show_bill(run: Mapping[str, Any], diff: Mapping[str, Any] | None) -> None:
    """Print what was changed, used and paid, in one line."""
    parts: list[str] = []
    if diff is not None:
        files = int(diff.get("files_changed") or 0)
        parts.append(
            f"{files} file{'' if files == 1 else 's'} changed"
            + (f", +{diff.get('insertions', 0)} -{diff.get('deletions', 0)}" if files else "")
        )
    parts.append(bill(run))
    out.print(" · ".join(part for part in parts if part), style="dim", markup=False)


def bill(run: Mapping[str, Any]) -> str:
    """Tokens and cost of a run in words; a scripted model costs nothing and that is said."""
    usage: dict[str, Any] = run.get("usage") or {}
    calls = int(usage.get("calls") or 0)
    if not calls:
        return ""
    tokens = f"{usage.get('input_tokens') or 0:,} tokens in, {usage.get('output_tokens') or 0:,} out"
    if run.get("scripted"):
        return f"{tokens} · no cost: the scripted offline model answered"
    cost = run.get("cost_usd")
    return f"{tokens} · " + (f"${float(cost):.4f}" if cost is not None else "cost not known for this model")


def finish(api: Api, run_id: str) -> None:
    """The diff and the bill of a run that has ended."""
    run = api.get(f"/api/runs/{run_id}")
    diff: dict[str, Any] | None = None
    try:
        diff = run_diff(api, run)
    except ApiError as error:
        if error.status != NOT_FOUND:
            raise
    if diff and diff.get("patch"):
        out.print()
        show_diff(diff)
    out.print()
    show_bill(run, diff)


def leave(code: int) -> None:
    """End the command with the run's exit code."""
    if code:
        raise typer.Exit(code)
