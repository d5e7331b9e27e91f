"""JSON Schema (draft 2020-12) of the envelope and of every payload and command."""

from typing import Any

from pydantic.json_schema import models_json_schema

from runyard_events.catalogue import PAYLOADS
from runyard_events.commands import COMMANDS_BY_TYPE, Reply
from runyard_events.envelope import Envelope

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def event_schema() -> dict[str, Any]:
    """One document: `$defs` holds envelope and payloads, the root accepts any event of this version."""
    _, document = models_json_schema(
        [(model, "serialization") for model in (Envelope, *PAYLOADS)], ref_template="#/$defs/{model}"
    )
    definitions: dict[str, Any] = document["$defs"]
    variants = [
        {
            "allOf": [
                {"$ref": "#/$defs/Envelope"},
                {
                    "properties": {
                        "type": {"const": payload.TYPE},
                        "kind": {"const": payload.FAMILY},
                        "version": {"const": payload.VERSION},
                        "payload": {"$ref": f"#/$defs/{payload.__name__}"},
                    }
                },
            ]
        }
        for payload in PAYLOADS
    ]
    return {"$schema": DIALECT, "title": "Runyard event", "$defs": definitions, "oneOf": variants}


def command_schema() -> dict[str, Any]:
    """The payloads of all commands, and the reply."""
    models = [*COMMANDS_BY_TYPE.values(), Reply]
    _, document = models_json_schema([(model, "validation") for model in models], ref_template="#/$defs/{model}")
    return {"$schema": DIALECT, "title": "Runyard commands", "$defs": document["$defs"]}
