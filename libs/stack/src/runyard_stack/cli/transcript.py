"""From events to the lines of a terminal: pure, so that every line of it is tested without a stack.

Events are the JSON of the event stream. What is not known is passed over: a newer stack may send more.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

OUTPUT_LINES = 12
LINE_WIDTH = 400
SUMMARY_WIDTH = 120

# Control sequences in a tool's output must not reach the reader's terminal.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_TELLING = ("command", "cmd", "file_path", "path", "pattern", "query", "url", "description")
_CHANGES = {"add": "+", "update": "±", "delete": "-", "move": "→"}
_PLAN = {"completed": "✓", "in_progress": "▸", "pending": "·"}


@dataclass(frozen=True)
class Line:
    """Text to print, in a style of `rich`; without `end` the next one continues it."""

    text: str
    style: str = ""
    end: str = "\n"


@dataclass
class _Output:
    """A tool's live output: the first lines are shown, the others counted."""

    shown: int = 0
    hidden: int = 0
    rest: str = ""


@dataclass
class Transcript:
    """Folds the events of a run into lines, in the order of the log."""

    _open: str | None = None
    _streamed: set[str] = field(default_factory=set[str])
    _outputs: dict[str, _Output] = field(default_factory=dict[str, _Output])

    def feed(self, event: Mapping[str, Any]) -> list[Line]:
        """The lines that this event adds; none for what people need not see."""
        kind = str(event.get("type", ""))
        payload = _mapping(event.get("payload"))
        renderer = _RENDERERS.get(kind)
        return renderer(self, payload) if renderer else []

    def close(self) -> list[Line]:
        """End a line that is still open."""
        if self._open is None:
            return []
        self._open = None
        return [Line("")]

    def _closed(self, *lines: Line) -> list[Line]:
        return [*self.close(), *lines]

    def _delta(self, kind: str, item: str, text: str, style: str) -> list[Line]:
        key = f"{kind}:{item}"
        self._streamed.add(key)
        begin = self.close() if self._open != key else []
        self._open = key
        return [*begin, Line(clean(text), style, end="")]

    def _final(self, kind: str, item: str, text: str, style: str) -> list[Line]:
        if f"{kind}:{item}" in self._streamed:
            return self.close()
        return self._closed(Line(clean(text), style)) if text else []

    def started(self, payload: Mapping[str, Any]) -> list[Line]:
        """A runner took the run."""
        model = payload.get("model")
        return self._closed(Line(f"▶ {payload.get('runnerId', 'runner')}" + (f" · {model}" if model else ""), "dim"))

    def resumed(self, payload: Mapping[str, Any]) -> list[Line]:
        """The run was taken up again."""
        return self._closed(Line(f"↻ taken up again (attempt {payload.get('attempt')})", "yellow"))

    def user(self, payload: Mapping[str, Any]) -> list[Line]:
        """A person's words."""
        return self._closed(Line(f"» {clean(_text(payload, 'text'))}", "bold"), Line(""))

    def assistant_delta(self, payload: Mapping[str, Any]) -> list[Line]:
        """A part of an answer."""
        return self._delta("message", _text(payload, "messageId"), _text(payload, "textDelta"), "")

    def assistant_final(self, payload: Mapping[str, Any]) -> list[Line]:
        """A whole answer, shown unless its parts were."""
        return self._final("message", _text(payload, "messageId"), _text(payload, "text"), "")

    def reasoning_delta(self, payload: Mapping[str, Any]) -> list[Line]:
        """A part of a thought."""
        return self._delta("reasoning", _text(payload, "itemId"), _text(payload, "textDelta"), "dim italic")

    def reasoning_final(self, payload: Mapping[str, Any]) -> list[Line]:
        """A whole thought, shown unless its parts were."""
        return self._final("reasoning", _text(payload, "itemId"), _text(payload, "text"), "dim italic")

    def tool_call(self, payload: Mapping[str, Any]) -> list[Line]:
        """A tool begins."""
        name = _text(payload, "toolName") or "tool"
        return self._closed(Line(f"▸ {name}  {summary(payload.get('input'))}".rstrip(), "cyan"))

    def tool_output(self, payload: Mapping[str, Any]) -> list[Line]:
        """Live output: whole lines, the first few of them."""
        output = self._outputs.setdefault(_text(payload, "callId"), _Output())
        *lines, output.rest = (output.rest + _text(payload, "textDelta")).split("\n")
        return self._closed(*_indented(output, lines))

    def tool_result(self, payload: Mapping[str, Any]) -> list[Line]:
        """A tool is done: its output unless shown live, and how it ended."""
        call = _text(payload, "callId")
        output = self._outputs.pop(call, None)
        if output is None:
            output = _Output()
            lines = _indented(output, plain(payload.get("output")).splitlines())
        else:
            lines = _indented(output, [output.rest] if output.rest else [])
        if output.hidden:
            lines.append(Line(f"  │ … {output.hidden} more lines", "dim"))
        return self._closed(*lines, _outcome(payload))

    def file_changed(self, payload: Mapping[str, Any]) -> list[Line]:
        """A file was changed."""
        change = _text(payload, "change")
        moved = f" → {payload['movedTo']}" if payload.get("movedTo") else ""
        return self._closed(Line(f"  {_CHANGES.get(change, '±')} {clean(_text(payload, 'path'))}{moved}", "magenta"))

    def plan(self, payload: Mapping[str, Any]) -> list[Line]:
        """The agent's plan."""
        steps = [_mapping(step) for step in _list(payload.get("steps"))]
        return self._closed(
            *(Line(f"  {_PLAN.get(_text(s, 'status'), '·')} {clean(_text(s, 'text'))}", "blue") for s in steps)
        )

    def approval(self, payload: Mapping[str, Any]) -> list[Line]:
        """The agent waits for a person."""
        detail = summary(payload.get("detail"))
        lines = [Line(f"? {clean(_text(payload, 'title'))}", "bold yellow")]
        if detail and detail not in lines[0].text:
            lines.append(Line(f"  {detail}", "yellow"))
        questions = (_text(_mapping(question), "question") for question in _list(payload.get("questions")))
        lines.extend(Line(f"  {clean(question)}", "yellow") for question in questions)
        return self._closed(*lines)

    def approved(self, payload: Mapping[str, Any]) -> list[Line]:
        """Somebody answered."""
        decision = _text(payload, "decision").replace("_", " ")
        return self._closed(Line(f"  answered: {decision}", "yellow"))

    def notice(self, payload: Mapping[str, Any]) -> list[Line]:
        """Something worth knowing."""
        return self._closed(Line(f"• {clean(_text(payload, 'message'))}", "dim"))

    def error(self, payload: Mapping[str, Any]) -> list[Line]:
        """Something went wrong inside the turn."""
        again = " (trying again)" if payload.get("willRetry") else ""
        return self._closed(Line(f"! {clean(_text(payload, 'message'))}{again}", "yellow"))

    def completed(self, payload: Mapping[str, Any]) -> list[Line]:
        """The run ended with an answer."""
        return self._closed(Line(f"✓ completed{_took(payload)}", "green"))

    def failed(self, payload: Mapping[str, Any]) -> list[Line]:
        """The run ended without one."""
        message = clean(_text(payload, "message"))
        return self._closed(Line(f"✗ {_text(payload, 'reason') or 'error'}: {message}{_took(payload)}", "red"))

    def cancelled(self, payload: Mapping[str, Any]) -> list[Line]:
        """The run was stopped."""
        return self._closed(Line(f"■ cancelled{_took(payload)}", "yellow"))

    def cancel_requested(self, _payload: Mapping[str, Any]) -> list[Line]:
        """Somebody asked the run to stop."""
        return self._closed(Line("■ asked to stop", "yellow"))


_RENDERERS = {
    "run.started": Transcript.started,
    "run.resumed": Transcript.resumed,
    "run.cancel_requested": Transcript.cancel_requested,
    "run.completed": Transcript.completed,
    "run.error": Transcript.failed,
    "run.cancelled": Transcript.cancelled,
    "ui.message.user": Transcript.user,
    "ui.message.assistant.delta": Transcript.assistant_delta,
    "ui.message.assistant.final": Transcript.assistant_final,
    "ui.reasoning.delta": Transcript.reasoning_delta,
    "ui.reasoning.final": Transcript.reasoning_final,
    "ui.tool.call": Transcript.tool_call,
    "ui.tool.output.delta": Transcript.tool_output,
    "ui.tool.result": Transcript.tool_result,
    "ui.file.changed": Transcript.file_changed,
    "ui.plan.updated": Transcript.plan,
    "ui.approval.requested": Transcript.approval,
    "ui.approval.resolved": Transcript.approved,
    "ui.notice": Transcript.notice,
    "ui.error": Transcript.error,
    "ui.retry": Transcript.notice,
}


def clean(text: str) -> str:
    """Text without anything that would steer a terminal."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text))


def summary(value: Any) -> str:
    """A tool's input in one line: the telling part of it, else all of it."""
    if isinstance(value, dict):
        fields = _mapping(cast("object", value))
        changes = [_text(_mapping(change), "path") for change in _list(fields.get("changes"))]
        value = next((fields[name] for name in _TELLING if fields.get(name)), changes or fields or "")
    text = " ".join(plain(value).split())
    return text if len(text) <= SUMMARY_WIDTH else f"{text[: SUMMARY_WIDTH - 1]}…"


def plain(value: Any) -> str:
    """A tool's input or output as text."""
    if value is None:
        return ""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in cast("list[object]", value)):
        return clean(" ".join(cast("list[str]", value)))
    return clean(json.dumps(value, ensure_ascii=False))


def _indented(output: _Output, lines: list[str]) -> list[Line]:
    room = max(OUTPUT_LINES - output.shown, 0)
    output.shown += min(room, len(lines))
    output.hidden += max(len(lines) - room, 0)
    return [Line(f"  │ {clean(line)[:LINE_WIDTH]}", "dim") for line in lines[:room]]


def _outcome(payload: Mapping[str, Any]) -> Line:
    status = _text(payload, "status") or "completed"
    exit_code = payload.get("exitCode")
    words = f"exit {exit_code}" if exit_code is not None else status
    good = status == "completed" and not exit_code
    return Line(f"  {'✓' if good else '✗'} {words}{_took(payload)}", "green" if good else "red")


def _took(payload: Mapping[str, Any]) -> str:
    milliseconds = payload.get("durationMs")
    if not isinstance(milliseconds, int):
        return ""
    return f" · {milliseconds} ms" if milliseconds < 1000 else f" · {milliseconds / 1000:.1f} s"  # noqa: PLR2004


def _text(payload: Mapping[str, Any], name: str) -> str:
    value = payload.get(name)
    return value if isinstance(value, str) else "" if value is None else str(value)


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
