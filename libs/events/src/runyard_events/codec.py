"""Events to bytes and back. A type or version from the future is kept as it came, never an error."""

import json
from typing import Any

from pydantic import ValidationError

from runyard_events.catalogue import BY_TYPE, Unknown
from runyard_events.envelope import Envelope
from runyard_events.errors import Malformed
from runyard_events.upcast import upcast


def encode(event: Envelope) -> bytes:
    """An event as the UTF-8 JSON that the log keeps and clients receive."""
    return event.model_dump_json(by_alias=True).encode()


def decode(data: bytes) -> Envelope:
    """An event from the log's bytes; its payload is the catalogue's model or `Unknown`.

    Raises:
        Malformed: not an envelope of this contract, or a payload that its own type refuses.
    """
    try:
        raw: Any = json.loads(data)
        return decode_json(raw)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Malformed(f"not an event: {_short(error)}") from error


def decode_json(raw: dict[str, Any]) -> Envelope:
    """The same from parsed JSON."""
    event_type: str = raw["type"]
    version: int = raw.get("version", 1)
    model = BY_TYPE.get(event_type)
    if model is None or version > model.VERSION:
        payload: Any = Unknown(raw["payload"])
    else:
        payload = model.model_validate(upcast(event_type, version, raw["payload"], current=model.VERSION))
        version = model.VERSION
    return Envelope.model_validate({**raw, "version": version, "payload": payload})


def _short(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_input=False, include_url=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error)
