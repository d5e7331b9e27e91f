"""From payloads to values that PostgreSQL takes."""

from typing import Any

from sqlalchemy import ColumnElement, Table

from runyard_events.stored import StoredEvent


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


def of_run(stored: StoredEvent, table: Table, key: str = "run_id") -> ColumnElement[bool]:
    """The rows of the run that an event stands on, whole: a container can name another's run in its own session."""
    address = stored.address
    of_session = (table.c.tenant_id == address.tenant_id) & (table.c.session_id == address.session_id)
    return of_session & (table.c[key] == address.run_id)
