"""Codex offers its tools in three ways, by model: as functions, behind a search, or as JavaScript.

The newest models get one tool `exec` that runs JavaScript, in which all others are functions of `tools`. Its
description declares them, and they are offered here like any other; using one means writing a line of code.
"""

import json
import re
from typing import Any

from runyard_llm_gateway.json_values import mapping, objects
from runyard_llm_gateway.providers.scripted.conversation import Offer

_DECLARED = re.compile(r"declare const tools: \{ (?P<name>\w+)\((?P<input>\w+): (?P<type>string)?")
_USED = re.compile(r"await tools\.(\w+)\(")


def offers(tools: list[dict[str, Any]], namespace: str | None = None) -> dict[str, Offer]:
    """The tools of a Responses request, by name."""
    found: dict[str, Offer] = {}
    for tool in tools:
        name = str(tool.get("name") or tool.get("type", ""))
        match tool.get("type"):
            case "namespace":
                found |= offers(objects(tool.get("tools")), name)
            case "function":
                properties = tuple(mapping(mapping(tool.get("parameters")).get("properties")))
                found[name] = Offer(name, "function", namespace, properties)
            case "custom":
                offer = found[name] = Offer(name, "custom", namespace)
                if name == "exec":
                    found |= _nested(offer, str(tool.get("description", "")))
            case "tool_search":
                found[name] = Offer(name, "tool_search")
            case _:
                pass
    return found


def _nested(within: Offer, description: str) -> dict[str, Offer]:
    return {
        found["name"]: Offer(found["name"], "custom" if found["type"] else "function", within=within)
        for found in _DECLARED.finditer(description)
    }


def javascript(name: str, value: dict[str, Any] | str) -> str:
    """The code that uses one tool and shows what it gave."""
    return (
        f"const result = await tools.{name}({json.dumps(value)});\n"
        'text(typeof result === "string" ? result : (result?.output ?? JSON.stringify(result)));\n'
        "if (result?.session_id != null) text(`Process running with session ID ${result.session_id}`);\n"
    )


def used(name: str, text: str) -> str:
    """The tool that a call used, also where the call is code."""
    found = _USED.search(text) if name == "exec" else None
    return found[1] if found else name
