"""The script language: what a test or a benchmark writes into a prompt to make the model act.

    [[script: {"steps": [{"say": "Looking."}, {"run": "ls"}, {"write": "a.md", "text": "hi"}, {"tokens": 50}]}]]
    [[script: tokens 50 delay 2]]      named scenarios, see `scenarios.py`

Steps run in order. Each step that uses a tool ends one answer of the model; the next request, which
carries the tool's result, goes on behind it. How far a script has come is therefore read off the request.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

MARK = "[[script:"
MAX_TOKENS = 200_000
MAX_BYTES = 64 * 1024 * 1024


class ScriptError(ValueError):
    """A directive that does not follow the language; the model answers with it as a bad request."""


class Step(BaseModel):
    """Base of all steps."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Say(Step):
    """Assistant text."""

    say: str


class Tokens(Step):
    """A number of generated words, one delta each."""

    tokens: int = Field(ge=0, le=MAX_TOKENS)
    delay_ms: float | None = Field(default=None, ge=0)


class Bulk(Step):
    """A number of bytes of text, in deltas of 8 KB."""

    bytes: int = Field(ge=0, le=MAX_BYTES)


class Think(Step):
    """Reasoning. With `raw` also as raw reasoning content, where the API knows it."""

    think: str
    raw: bool = False


class Pace(Step):
    """Milliseconds between the deltas from here on."""

    delay_ms: float = Field(ge=0)


class Hang(Step):
    """Silence; as the first step of an answer also before its first byte."""

    hang_ms: float = Field(ge=0)


class Cut(Step):
    """Breaks the connection in the middle of the answer. With `until` (epoch seconds) only before it."""

    cut: Literal[True]
    until: float | None = None


class Fail(Step):
    """An HTTP error; after output in the same answer, an error inside the stream. `until` as in `cut`."""

    error: int = Field(ge=400, le=599)
    message: str = "scripted failure"
    retry_after: int | None = None
    until: float | None = None


class Run(Step):
    """A shell command; with `escalate` (the reason) one that asks for approval where the agent can ask."""

    run: str
    escalate: str | None = None


class Write(Step):
    """Creates a file."""

    write: str
    text: str


class Edit(Step):
    """Replaces text in a file."""

    edit: str
    old: str
    new: str


class Read(Step):
    """Reads a file."""

    read: str


class Plan(Step):
    """Sets the plan: pairs of step and status (pending, in_progress, completed)."""

    plan: list[tuple[str, Literal["pending", "in_progress", "completed"]]]


class Ask(Step):
    """Asks the user a question with options."""

    ask: str
    options: list[str] = Field(min_length=2, max_length=4)


class Spawn(Step):
    """Starts a sub-agent with a prompt, which may carry a script of its own."""

    spawn: str


class Use(Step):
    """Any offered tool by name, with its input as it stands (a string for tools that take free text)."""

    tool: str
    input: dict[str, Any] | str


def _key(value: Any) -> str | None:
    if not isinstance(value, dict):
        return type(value).__name__.lower() if isinstance(value, Step) else None
    return next((name for name in _KEYS if name in value), None)


class Together(Step):
    """Several tool uses in one answer."""

    together: "list[ToolStep]" = Field(min_length=1)


_KEYS = [
    "say",
    "tokens",
    "bytes",
    "think",
    "hang_ms",
    "cut",
    "error",
    "run",
    "write",
    "edit",
    "read",
    "plan",
    "ask",
    "spawn",
    "tool",
    "together",
    "delay_ms",
]  # `delay_ms` last: it also stands beside `tokens`

ToolStep = Annotated[
    Annotated[Run, Tag("run")]
    | Annotated[Write, Tag("write")]
    | Annotated[Edit, Tag("edit")]
    | Annotated[Read, Tag("read")]
    | Annotated[Plan, Tag("plan")]
    | Annotated[Ask, Tag("ask")]
    | Annotated[Spawn, Tag("spawn")]
    | Annotated[Use, Tag("tool")],
    Discriminator(_key),
]
AnyStep = Annotated[
    Annotated[Say, Tag("say")]
    | Annotated[Tokens, Tag("tokens")]
    | Annotated[Bulk, Tag("bytes")]
    | Annotated[Think, Tag("think")]
    | Annotated[Pace, Tag("delay_ms")]
    | Annotated[Hang, Tag("hang_ms")]
    | Annotated[Cut, Tag("cut")]
    | Annotated[Fail, Tag("error")]
    | Annotated[Run, Tag("run")]
    | Annotated[Write, Tag("write")]
    | Annotated[Edit, Tag("edit")]
    | Annotated[Read, Tag("read")]
    | Annotated[Plan, Tag("plan")]
    | Annotated[Ask, Tag("ask")]
    | Annotated[Spawn, Tag("spawn")]
    | Annotated[Use, Tag("tool")]
    | Annotated[Together, Tag("together")],
    Discriminator(_key),
]
TOOL_STEPS = (Run, Write, Edit, Read, Plan, Ask, Spawn, Use)


class Script(BaseModel):
    """A list of steps."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    steps: list[AnyStep]


def calls_of(step: Step) -> list[Step]:
    """The tool uses of a step: none, itself, or those of a `together`."""
    if isinstance(step, Together):
        return list(step.together)
    return [step] if isinstance(step, TOOL_STEPS) else []


def answer_after(script: Script, results: int) -> tuple[list[Step], bool]:
    """The steps of the answer that follows after so many tool results, and whether it is the last one."""
    answer: list[Step] = []
    for step in script.steps:
        answer.append(step)
        if not (calls := calls_of(step)):
            continue
        if results < len(calls):
            return answer, False
        results -= len(calls)
        answer = []
    return answer, True


def directive(text: str) -> str | dict[str, Any] | None:
    """The directive in a prompt: JSON, the words of a named scenario, or None.

    Raises:
        ScriptError: the directive starts but does not end.
    """
    start = text.find(MARK)
    if start < 0:
        return None
    rest = text[start + len(MARK) :].lstrip()
    if not rest.startswith("{"):
        words, end, _ = rest.partition("]]")
        if not end:
            raise ScriptError("the script directive has no closing ]]")
        return words.strip()
    try:
        value, end = json.JSONDecoder().raw_decode(rest)
    except ValueError as error:
        raise ScriptError(f"the script is not JSON: {error}") from None
    if not rest[end:].lstrip().startswith("]]"):
        raise ScriptError("the script directive has no closing ]]")
    return value


def parse(value: dict[str, Any]) -> Script:
    """Checks a script.

    Raises:
        ScriptError: with the place of the first mistake.
    """
    try:
        return Script.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ScriptError(f"script: {place}: {first['msg']}") from None
