"""Named scripts: `[[script: tokens 50 delay 2]]` instead of the JSON of the usual ones."""

import json
from collections.abc import Callable
from typing import Any

from runyard_llm_gateway.providers.scripted.script import MARK, ScriptError

Steps = list[dict[str, Any]]


def named(words: str) -> dict[str, Any]:
    """The script of a named scenario: its name, one number, and `delay MS` if wanted.

    Raises:
        ScriptError: no scenario has this name, or its number is none.
    """
    name, *rest = words.split()
    build = SCENARIOS.get(name)
    if build is None:
        raise ScriptError(f"no scenario {name!r}; there are: {', '.join(SCENARIOS)}")
    try:
        pace: Steps = []
        if "delay" in rest:
            at = rest.index("delay")
            pace = [{"delay_ms": float(rest[at + 1])}]
            del rest[at : at + 2]
        return {"steps": [*pace, *build(float(rest[0]) if rest else None)]}
    except (ValueError, IndexError):
        raise ScriptError(f"scenario {name!r} takes one number and `delay MS`, not {words!r}") from None


def _tokens(count: float | None) -> Steps:
    return [{"tokens": int(count or 50)}]


def _huge(size: float | None) -> Steps:
    return [{"bytes": int(size or 1_000_000)}]


def _shell(seconds: float | None) -> Steps:
    command = "echo started; ls -a; echo finished"
    if seconds:
        command = f"echo started; sleep {seconds:g}; echo finished"
    return [{"run": command}, {"say": "The command has run."}]


def _think(count: float | None) -> Steps:
    words = " ".join(f"thought-{number}" for number in range(int(count or 8)))
    return [{"think": words, "raw": True}, {"say": "I have thought about it."}]


def _edit(_: float | None) -> Steps:
    return [
        {"write": "scripted.md", "text": "# Scripted\n\nfirst line\n"},
        {"edit": "scripted.md", "old": "first line", "new": "second line"},
        {"say": "scripted.md is written and edited."},
    ]


def _plan(_: float | None) -> Steps:
    return [
        {"plan": [["Look around", "in_progress"], ["Report", "pending"]]},
        {"run": "ls -a"},
        {"plan": [["Look around", "completed"], ["Report", "completed"]]},
        {"say": "The plan is done."},
    ]


def _approval(_: float | None) -> Steps:
    command = "touch /var/tmp/runyard-scripted-approval"
    return [
        {"run": command, "escalate": "needs to write outside the workspace"},
        {"say": "Approval answered."},
    ]


def _question(_: float | None) -> Steps:
    return [{"ask": "Which colour?", "options": ["red", "blue"]}, {"say": "Thank you for the answer."}]


def _subagent(_: float | None) -> Steps:
    child = MARK + " " + json.dumps({"steps": [{"run": "ls -a"}, {"say": "The sub-agent is done."}]}) + "]]"
    return [{"spawn": f"List the files. {child}"}, {"say": "The sub-agent was started."}]


def _error(status: float | None) -> Steps:
    return [{"error": int(status or 500)}]


def _cut(_: float | None) -> Steps:
    return [{"say": "This answer will break off "}, {"cut": True}]


def _hang(seconds: float | None) -> Steps:
    return [{"say": "Now there is silence. "}, {"hang_ms": (seconds or 3600) * 1000}, {"say": "It is over."}]


def _everything(_: float | None) -> Steps:
    return [
        {"think": "I follow the script: plan, look, write, edit, report."},
        {"say": "I start with a plan."},
        {"plan": [["Look around", "in_progress"], ["Write", "pending"]]},
        {"say": "I look around."},
        {"run": "ls -a; echo looked"},
        *_edit(None)[:2],
        {"run": "exit 3"},
        {"plan": [["Look around", "completed"], ["Write", "completed"]]},
        {"say": "Everything in the script is done."},
    ]


SCENARIOS: dict[str, Callable[[float | None], Steps]] = {
    "tokens": _tokens,
    "huge": _huge,
    "shell": _shell,
    "think": _think,
    "edit": _edit,
    "plan": _plan,
    "approval": _approval,
    "question": _question,
    "subagent": _subagent,
    "error": _error,
    "cut": _cut,
    "hang": _hang,
    "everything": _everything,
}
