"""From payloads to values that PostgreSQL takes."""

from typing import Any


def storable(text: str) -> str:
    """The text without what a PostgreSQL text cannot hold: NUL and lone surrogates become U+FFFD."""
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def storable_or_none(text: str | None) -> str | None:
    """The same where there may be none."""
    return None if text is None else storable(text)


def storable_values(values: dict[str, Any]) -> dict[str, Any]:
    """The same for all strings among a row's values."""
    return {name: storable(value) if isinstance(value, str) else value for name, value in values.items()}
