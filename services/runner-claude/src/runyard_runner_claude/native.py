"""Reading native JSON that a newer agent may have shaped otherwise: a wrong shape reads as empty."""

from typing import Any, cast

Json = dict[str, Any]


def obj(value: object) -> Json:
    """The value if it is a JSON object, else an empty one."""
    return cast("Json", value) if isinstance(value, dict) else {}


def objects(value: object) -> list[Json]:
    """The objects of a JSON array; anything else in it is left out."""
    if not isinstance(value, list):
        return []
    return [cast("Json", item) for item in cast("list[object]", value) if isinstance(item, dict)]


def text(value: object) -> str:
    """The value if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def optional_text(value: object) -> str | None:
    """The value if it is a string with something in it."""
    return value if isinstance(value, str) and value else None


def number(value: object) -> int:
    """The value if it is a whole number, else 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def optional_number(value: object) -> int | None:
    """The value if it is a number, cut to a whole one."""
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
