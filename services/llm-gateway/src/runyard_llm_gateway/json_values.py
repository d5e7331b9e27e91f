"""JSON from outside, taken as what it should be or as nothing."""

from typing import Any, cast

_MANY = 2**53


def mapping(value: Any) -> dict[str, Any]:
    """The value if it is an object, else an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """The value if it is an array, else an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects of an array; whatever else is in it is left out."""
    return [mapping(item) for item in items(value) if isinstance(item, dict)]


def number(value: Any) -> int | None:
    """The value if it is a whole number that counts something, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MANY else None
