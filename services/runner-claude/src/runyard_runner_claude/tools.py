"""What Claude's tools did, in neutral words: categories, results, file changes, the plan."""

import re
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Any, Literal, cast

from runyard_events.catalogue import (
    FileChanged,
    Payload,
    PlanStep,
    PlanUpdated,
    ToolCategory,
    ToolResult,
    ToolStatus,
)
from runyard_runner_claude.native import Json, obj, objects, optional_number, text

SUBAGENT_TOOLS = frozenset({"Agent", "Task"})
_CATEGORIES: dict[str, ToolCategory] = {
    "Bash": "command",
    "Edit": "file_change",
    "MultiEdit": "file_change",
    "NotebookEdit": "file_change",
    "Write": "file_change",
    "Read": "read",
    "Glob": "search",
    "Grep": "search",
    "ToolSearch": "search",
    "WebFetch": "web",
    "WebSearch": "web",
    "TodoWrite": "plan",
    **dict.fromkeys(SUBAGENT_TOOLS, cast("ToolCategory", "subagent")),
}
_EXIT_CODE = re.compile(r"^(?:Error: )?Exit code (\d+)\b")


def category_of(tool_name: str) -> ToolCategory:
    """The neutral kind of a tool."""
    return "mcp" if tool_name.startswith("mcp__") else _CATEGORIES.get(tool_name, "other")


def relative(path: str, cwd: PurePath) -> str:
    """A path as the repository sees it; absolute when it lies outside."""
    return str(PurePath(path).relative_to(cwd)) if PurePath(path).is_relative_to(cwd) else path


def tool_result(block: Json, line: Json, tool_name: str) -> ToolResult:
    """The neutral result of a `tool_result` block and the line that brought it."""
    call_id = text(block.get("tool_use_id"))
    output = _output(block.get("content"))
    details = obj(line.get("tool_use_result"))
    status = _status(block, _meta(line, call_id))
    return ToolResult(
        tool_name=tool_name,
        output=output,
        call_id=call_id,
        status=status,
        exit_code=_exit_code(tool_name, status, output, details),
        duration_ms=optional_number(details.get("durationMs")),
    )


def changes(line: Json, call_id: str, cwd: Path) -> Iterable[Payload]:
    """File changes and plans that a tool result tells of."""
    details = obj(line.get("tool_use_result"))
    path = text(details.get("filePath")) or text(details.get("notebook_path"))
    if path and _wrote(details):
        yield _file_changed(details, path, call_id, cwd)
    if "newTodos" in details:
        yield plan(details.get("newTodos"))


def plan(todos: object) -> PlanUpdated:
    """The neutral plan of a list of todos."""
    steps: list[PlanStep] = []
    for todo in objects(todos):
        status = todo.get("status")
        known = status if status in {"pending", "in_progress", "completed"} else "pending"
        steps.append(PlanStep(text=text(todo.get("content")), status=known))
    return PlanUpdated(steps=tuple(steps))


def unified(path: str, hunks: Iterable[Json], *, added: bool) -> str:
    """A unified diff of `structuredPatch` hunks; empty without hunks."""
    lines: list[str] = []
    for hunk in hunks:
        old = f"{hunk.get('oldStart')},{hunk.get('oldLines')}"
        new = f"{hunk.get('newStart')},{hunk.get('newLines')}"
        lines.append(f"@@ -{old} +{new} @@")
        lines += [str(each) for each in cast("list[Any]", hunk.get("lines") or [])]
    if not lines:
        return ""
    before = "/dev/null" if added else f"a/{path}"
    return "\n".join([f"--- {before}", f"+++ b/{path}", *lines, ""])


def whole_file_hunk(content: str) -> Json:
    """The hunk that adds a file with this content."""
    lines = content.split("\n")
    ended = lines[-1] == ""
    if ended:
        lines.pop()
    body = [f"+{line}" for line in lines]
    if not ended:
        body.append("\\ No newline at end of file")
    return {"oldStart": 0, "oldLines": 0, "newStart": 1, "newLines": len(lines), "lines": body}


def _wrote(details: Json) -> bool:
    if details.get("type") == "update" and details.get("content") == details.get("originalFile"):
        return False
    return "structuredPatch" in details or "updated_file" in details


def _file_changed(details: Json, path: str, call_id: str, cwd: Path) -> FileChanged:
    added = details.get("type") == "create"
    shown = relative(path, cwd)
    hunks = objects(details.get("structuredPatch"))
    if added and not hunks and text(details.get("content")):
        hunks = [whole_file_hunk(text(details.get("content")))]
    change: Literal["add", "update"] = "add" if added else "update"
    diff = unified(shown, hunks, added=added) or None
    return FileChanged(path=shown, change=change, diff=diff, call_id=call_id)


def _output(content: object) -> Any:
    """Plain text where the result is only text, the native blocks where there are images or more."""
    if isinstance(content, list):
        blocks = objects(cast("object", content))
        if all(block.get("type") == "text" for block in blocks):
            return "\n".join(text(block.get("text")) for block in blocks)
        return cast("list[Any]", content)
    return text(content)


def _meta(line: Json, call_id: str) -> Json:
    metas = (meta for meta in objects(line.get("tool_result_meta")) if meta.get("id") == call_id)
    return next(metas, obj(None))


def _status(block: Json, meta: Json) -> ToolStatus:
    if not block.get("is_error"):
        return "completed"
    if obj(meta.get("permission_decision")).get("decision") == "reject":
        return "declined"
    # Rejected by nobody's decision: the call was stopped while it ran.
    return "interrupted" if meta.get("non_execution_kind") == "user-rejected" else "failed"


def _exit_code(tool_name: str, status: ToolStatus, output: Any, details: Json) -> int | None:
    if tool_name != "Bash":
        return None
    if status == "completed":
        return None if details.get("backgroundTaskId") else 0
    found = _EXIT_CODE.match(output) if status == "failed" and isinstance(output, str) else None
    return int(found.group(1)) if found else None
