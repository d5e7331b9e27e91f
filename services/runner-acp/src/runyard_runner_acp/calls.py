"""What both protocols have in common: plans, patches and diffs as neutral payloads. Pure."""

import difflib
import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Literal, cast

from runyard_events.catalogue import FileChanged, PlanStep, PlanUpdated, Usage

_PATCHED = re.compile(r"^\*\*\* (Add|Update|Delete) File: (.+)$", re.MULTILINE)
_CHANGES: Mapping[str, Literal["add", "update", "delete"]] = {"Add": "add", "Update": "update", "Delete": "delete"}
_STEPS = ("pending", "in_progress", "completed")


def within(path: str, folder: str) -> str:
    """A path as seen from the working directory; one outside stays absolute."""
    pure = PurePosixPath(path)
    return str(pure.relative_to(folder)) if pure.is_relative_to(folder) else path


def changed(path: str, old: str | None, new: str | None, call_id: str) -> FileChanged:
    """A file's change from its text before and after; what was empty before is new, what is None after is gone."""
    change = "delete" if new is None else "update" if old else "add"
    lines = difflib.unified_diff(
        (old or "").splitlines(),
        (new or "").splitlines(),
        "/dev/null" if change == "add" else path,
        "/dev/null" if change == "delete" else path,
        lineterm="",
    )
    return FileChanged(path=path, change=change, diff="".join(f"{line}\n" for line in lines), call_id=call_id)


def patched(patch: str, folder: str, call_id: str) -> tuple[FileChanged, ...]:
    """The files that a patch of the `*** Begin Patch` kind changes."""
    return tuple(
        FileChanged(path=within(path.strip(), folder), change=_CHANGES[kind], call_id=call_id)
        for kind, path in _PATCHED.findall(patch)
    )


def plan(entries: Any) -> PlanUpdated | None:
    """Steps from a list of todos; None when there is none."""
    if isinstance(entries, str):
        try:
            entries = json.loads(entries)
        except ValueError:
            return None
    if not isinstance(entries, list):
        return None
    todos = [cast("Mapping[str, Any]", one) for one in cast("list[Any]", entries) if isinstance(one, Mapping)]
    steps = tuple(_step(one) for one in todos)
    return PlanUpdated(steps=steps) if steps else None


def usage(counts: Mapping[str, Any], *, read: str, written: str) -> Usage:
    """Tokens of a turn; both protocols count cached input apart, the neutral input has it inside."""
    cached, fresh = counts.get(read) or 0, counts.get(written) or 0
    return Usage(
        input_tokens=(counts.get("inputTokens") or 0) + cached + fresh,
        output_tokens=counts.get("outputTokens") or 0,
        cached_input_tokens=cached,
        cache_write_tokens=fresh,
        reasoning_tokens=counts.get("thinkingTokens") or 0,
    )


def _step(entry: Mapping[str, Any]) -> PlanStep:
    status = entry.get("status")
    text = entry.get("content") or entry.get("description") or ""
    return PlanStep.model_validate({"text": str(text), "status": status if status in _STEPS else "pending"})
