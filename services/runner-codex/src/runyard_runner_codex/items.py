"""Codex's thread items as tool calls, results and file changes. Pure."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Literal

from runyard_events.catalogue import FileChanged, ToolCall, ToolCategory, ToolResult, ToolStatus

Item = Mapping[str, Any]
Params = Mapping[str, Any]

_STATUS: Mapping[str, ToolStatus] = {
    "completed": "completed",
    "failed": "failed",
    "declined": "declined",
    "inProgress": "interrupted",
}


_SHELL_WORDS = 3


def plain_command(command: str) -> str:
    """What was asked of the shell, without the shell: `ls` for `/bin/bash -lc ls`."""
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    return words[2] if len(words) == _SHELL_WORDS and words[1] in ("-lc", "-c") else command


def within(path: str, folder: str) -> str:
    """A path as seen from the working directory; one outside stays absolute."""
    pure = PurePosixPath(path)
    return str(pure.relative_to(folder)) if pure.is_relative_to(folder) else path


def relative(item: Item, folder: str) -> Item:
    """The item with the paths of its changes as seen from the working directory."""
    if item["type"] != "fileChange":
        return item
    return {**item, "changes": [_relative_change(one, folder) for one in item["changes"]]}


def _relative_change(change: Mapping[str, Any], folder: str) -> Mapping[str, Any]:
    kind = change["kind"]
    if moved := kind.get("move_path"):
        kind = {**kind, "move_path": within(moved, folder)}
    return {**change, "path": within(change["path"], folder), "kind": kind}


def tool_call(item: Item, parent: str | None = None) -> ToolCall | None:
    """The call that an item stands for; None when it is no tool. `parent` is the call that made the sub-agent."""
    described = _described(item)
    if described is None:
        return None
    name, category, arguments = described
    return ToolCall(tool_name=name, input=arguments, call_id=item["id"], category=category, parent_call_id=parent)


def tool_result(item: Item) -> ToolResult | None:
    """The result that a completed item stands for; None when it is no tool."""
    described = _described(item)
    if described is None:
        return None
    return ToolResult(
        tool_name=described[0],
        output=_output(item),
        call_id=item["id"],
        status=_status(item),
        exit_code=item.get("exitCode"),
        duration_ms=item.get("durationMs"),
    )


def file_changes(item: Item) -> tuple[FileChanged, ...]:
    """The changes of a patch that was applied."""
    if item["type"] != "fileChange" or item.get("status") != "completed":
        return ()
    return tuple(_file_change(change, item["id"]) for change in item["changes"])


def changes_as_input(changes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Changes as they are shown before they are made: path, kind and diff."""
    return [{"path": one["path"], "change": _change_kind(one), "diff": unified(one)} for one in changes]


def unified(change: Mapping[str, Any]) -> str:
    """Codex gives the whole text of added and deleted files instead of a diff: here all are unified diffs."""
    path, diff = change["path"], change.get("diff") or ""
    kind = change["kind"]["type"]
    if kind == "update":
        moved = change["kind"].get("move_path") or path
        return diff if diff.startswith("---") else f"--- {path}\n+++ {moved}\n{diff}"
    lines = diff.splitlines()
    sign, span = ("+", f"@@ -0,0 +1,{len(lines)} @@") if kind == "add" else ("-", f"@@ -1,{len(lines)} +0,0 @@")
    head = f"--- /dev/null\n+++ {path}" if kind == "add" else f"--- {path}\n+++ /dev/null"
    return "\n".join([head, span, *(f"{sign}{line}" for line in lines), ""])


def _file_change(change: Mapping[str, Any], call_id: str) -> FileChanged:
    return FileChanged(
        path=change["path"],
        change=_change_kind(change),
        diff=unified(change),
        moved_to=change["kind"].get("move_path"),
        call_id=call_id,
    )


def _change_kind(change: Mapping[str, Any]) -> Literal["add", "update", "delete", "move"]:
    match change["kind"]:
        case {"type": "add"}:
            return "add"
        case {"type": "delete"}:
            return "delete"
        case {"move_path": str()}:
            return "move"
        case _:
            return "update"


def _described(item: Item) -> tuple[str, ToolCategory, Any] | None:  # noqa: PLR0911 - one per kind of item
    """Name, category and input of a tool."""
    match item["type"]:
        case "commandExecution":
            return ("shell", "command", {"command": plain_command(item["command"]), "cwd": item["cwd"]})
        case "fileChange":
            return ("apply_patch", "file_change", {"changes": changes_as_input(item["changes"])})
        case "mcpToolCall":
            return (f"{item['server']}.{item['tool']}", "mcp", item.get("arguments"))
        case "dynamicToolCall":
            return (item["tool"], "other", item.get("arguments"))
        case "collabAgentToolCall":
            return (item["tool"], "subagent", {"prompt": item.get("prompt"), "model": item.get("model")})
        case "webSearch":
            return ("web_search", "web", {"query": item.get("query"), "action": item.get("action")})
        case "imageView":
            return ("view_image", "read", {"path": item["path"]})
        case "imageGeneration":
            return ("generate_image", "other", {"prompt": item.get("revisedPrompt")})
        case "sleep":
            return ("sleep", "other", {"duration_ms": item.get("durationMs")})
        case _:
            return None


def _status(item: Item) -> ToolStatus:
    if item.get("success") is False or item.get("error") or item.get("failure"):
        return "failed"
    status = item.get("status")
    return _STATUS.get(status, "completed") if isinstance(status, str) else "completed"


def _output(item: Item) -> Any:  # noqa: PLR0911 - one per kind of item
    match item["type"]:
        case "commandExecution":
            return item.get("aggregatedOutput") or ""
        case "fileChange":
            return [change["path"] for change in item["changes"]]
        case "mcpToolCall":
            return item.get("error") or item.get("result")
        case "dynamicToolCall":
            return item.get("contentItems")
        case "collabAgentToolCall":
            return {"threads": item.get("receiverThreadIds"), "states": item.get("agentsStates")}
        case "webSearch":
            return item.get("results")
        case "imageGeneration":
            return item.get("failure") or item.get("savedPath")
        case _:
            return None
