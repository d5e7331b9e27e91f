"""Types of what comes in: bounded, and without what neither PostgreSQL nor UTF-8 can hold."""

from typing import Annotated, Any, Literal

from fastapi import Header, Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

MAX_SEQ = 2**63 - 1
PROMPT_CHARACTERS = 200_000
_DEPTH = 32
_CONTROL = {chr(code) for code in (*range(32), 127)}

RunnerType = Literal["codex", "claude", "opencode", "droid", "gemini", "external"]
ApprovalPolicy = Literal["never", "on-request"]
ContainerStatus = Literal["creating", "running", "paused", "stopped", "error", "deleted"]
ContainerType = Literal["agent", "preview", "sync"]


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain NUL characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must not contain lone surrogates") from None
    return text


def one_line(text: str) -> str:
    """A text without control characters; raises ValueError."""
    if not _CONTROL.isdisjoint(text):
        raise ValueError("must not contain control characters")
    return _storable(text)


def _check_json(value: Any, depth: int = 0) -> None:
    if depth > _DEPTH:
        raise ValueError(f"must not be nested deeper than {_DEPTH} levels")
    match value:
        case str():
            _storable(value)
        case dict():
            for key, item in value.items():  # pyright: ignore[reportUnknownVariableType]
                _storable(str(key))  # pyright: ignore[reportUnknownArgumentType]
                _check_json(item, depth + 1)
        case list():
            for item in value:  # pyright: ignore[reportUnknownVariableType]
                _check_json(item, depth + 1)
        case _:
            pass


def _json_object(value: dict[str, Any]) -> dict[str, Any]:
    _check_json(value)
    return value


Line = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"\S"), AfterValidator(one_line)]
"""A short text on one line: a title, a name."""

Uri = Annotated[str, StringConstraints(min_length=1, max_length=2048, pattern=r"\S"), AfterValidator(one_line)]

Words = Annotated[
    str,
    StringConstraints(min_length=1, max_length=PROMPT_CHARACTERS, pattern=r"\S"),
    AfterValidator(_storable),
]
"""A person's words to an agent."""

Note = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_storable)]

JsonObject = Annotated[dict[str, Any], Field(max_length=100), AfterValidator(_json_object)]

Limit = Annotated[int, Query(ge=1, le=200, description="Most items in the answer.")]
Cursor = Annotated[int | None, Query(ge=0, le=MAX_SEQ, description="`next_cursor` of the page before.")]

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]{1,200}$",
        description="The same key with the same body gives the same answer, however often it is sent.",
    ),
]

ApprovalId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")]


Id = Annotated[str, Field(json_schema_extra={"format": "uuid"})]
"""An id in an answer: as it stands in the log, whoever wrote it."""


class Body(BaseModel):
    """A request's body: fields that nobody knows are refused."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=False)


class View(BaseModel):
    """An answer's body."""

    model_config = ConfigDict(from_attributes=True)


class Page(View):
    """What every listing has besides its items."""

    next_cursor: int | None = Field(default=None, description="Give it as `cursor` for the next page.")
