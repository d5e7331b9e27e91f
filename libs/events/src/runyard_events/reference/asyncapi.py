"""The AsyncAPI 3 document: which subjects there are, what is on them, and who writes."""

from typing import Any

from runyard_events.catalogue import FAMILIES, PAYLOADS
from runyard_events.commands import COMMANDS_BY_TYPE
from runyard_events.commands.payload import fields_of
from runyard_events.reference.json_schema import command_schema, event_schema

VERSION = "1.0.0"

_AGGREGATES = {
    "workspace": ("ev.{tenant}.workspace.{workspace}", ("tenant", "workspace")),
    "session": ("ev.{tenant}.session.{session}", ("tenant", "session")),
    "preview": ("ev.{tenant}.preview.{preview}", ("tenant", "preview")),
    "team": ("ev.{tenant}.team.{tenant}", ("tenant",)),
    "run": ("ev.{tenant}.session.{session}.run.{run}", ("tenant", "session", "run")),
}
_PARAMETERS = {"runner_type": "codex, claude, ...", "session_id": "Identifier of the session."}
_BY_PREFIX = {
    "workspace": "workspace",
    "session": "session",
    "worktree": "session",
    "sandbox": "session",
    "branch": "session",
    "preview": "preview",
    "team": "team",
}


def aggregate_of(event_type: str) -> str:
    """On whose subject a type is kept."""
    prefix = event_type.split(".", maxsplit=1)[0]
    return _BY_PREFIX.get(prefix, "run")


def asyncapi() -> dict[str, Any]:
    """The document as JSON-compatible data."""
    schemas = _schemas()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Runyard",
            "version": VERSION,
            "description": "Events (history, stream EVENTS) and commands (work, stream COMMANDS) on NATS JetStream.",
        },
        "defaultContentType": "application/json",
        "servers": {"local": {"host": "127.0.0.1:9111", "protocol": "nats"}},
        "channels": {**_event_channels(), **_command_channels()},
        "operations": {**_operations()},
        "components": {"messages": _messages(), "schemas": schemas},
    }


def _schemas() -> dict[str, Any]:
    definitions = {**event_schema()["$defs"], **command_schema()["$defs"]}
    return _relocate(definitions)


def _relocate(value: Any) -> Any:
    """References into `$defs` become references into `components/schemas`."""
    if isinstance(value, dict):
        return {
            key: item.replace("#/$defs/", "#/components/schemas/") if key == "$ref" else _relocate(item)
            for key, item in value.items()  # pyright: ignore[reportUnknownVariableType]
        }
    if isinstance(value, list):
        return [_relocate(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def _channel(aggregate: str, family: str) -> str:
    return f"{aggregate}.{family}"


def _event_channels() -> dict[str, Any]:
    channels: dict[str, Any] = {}
    for aggregate, (subject, parameters) in _AGGREGATES.items():
        for family in FAMILIES:
            types = [one.TYPE for one in PAYLOADS if family == one.FAMILY and aggregate_of(one.TYPE) == aggregate]
            if types:
                channels[_channel(aggregate, family)] = {
                    "address": f"{subject}.{family}",
                    "parameters": {name: {"description": f"Identifier of the {name}."} for name in parameters},
                    "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in types},
                }
    return channels


def _command_channels() -> dict[str, Any]:
    channels: dict[str, Any] = {}
    for name, model in COMMANDS_BY_TYPE.items():
        channel: dict[str, Any] = {
            "address": model.SUBJECT,
            "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        }
        parameters = {key: {"description": _PARAMETERS[key]} for key in fields_of(model.SUBJECT)}
        if parameters:
            channel["parameters"] = parameters
        channels[f"command.{name}"] = channel
    return channels


def _operations() -> dict[str, Any]:
    receive = {
        f"receive.{name}": {"action": "receive", "channel": {"$ref": f"#/channels/{name}"}}
        for name in _event_channels()
    }
    send = {
        f"send.{name}": {"action": "send", "channel": {"$ref": f"#/channels/{name}"}} for name in _command_channels()
    }
    return {**receive, **send}


def _messages() -> dict[str, Any]:
    events = {
        one.TYPE: {
            "name": one.TYPE,
            "summary": (one.__doc__ or "").strip().split("\n")[0],
            "payload": {
                "allOf": [
                    {"$ref": "#/components/schemas/Envelope"},
                    {"properties": {"payload": {"$ref": f"#/components/schemas/{one.__name__}"}}},
                ]
            },
        }
        for one in PAYLOADS
    }
    commands = {
        name: {"name": name, "payload": {"$ref": f"#/components/schemas/{model.__name__}"}}
        for name, model in COMMANDS_BY_TYPE.items()
    }
    return {**events, **commands}
