"""Neutral acts to real tools: which of the offered tools runs a command, writes a file, asks a question.

Known: Codex (exec_command, shell, apply_patch, update_plan, request_user_input, spawn_agent), Claude Code
(Bash, Write, Edit, Read, TodoWrite, AskUserQuestion, Agent), opencode, gemini-cli and droid.
"""

import json
import posixpath
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runyard_llm_gateway.providers.scripted import script as steps
from runyard_llm_gateway.providers.scripted.codex_tools import javascript
from runyard_llm_gateway.providers.scripted.conversation import Offer

_LONG_MS = 600_000
_YIELD_MS = 30_000
_POLL_MS = 60_000


@dataclass(frozen=True, slots=True)
class Act:
    """A tool use: the offered tool and its input, an object or free text for custom tools."""

    offer: Offer
    input: dict[str, Any] | str

    @property
    def arguments(self) -> str:
        """The input as text: JSON, or the free text itself."""
        return self.input if isinstance(self.input, str) else json.dumps(self.input, ensure_ascii=False)


def _act(offer: Offer, value: dict[str, Any] | str) -> Act:
    if offer.within is not None:
        return Act(offer.within, javascript(offer.name, value))
    return Act(offer, value)


class Hands:
    """The tools of one request."""

    def __init__(self, offers: Mapping[str, Offer], folder: str | None) -> None:
        self._offers = offers
        self._folder = folder

    def do(self, step: steps.Step) -> Act | None:  # noqa: PLR0911 - one line per kind of act
        """The tool use that carries out a step; None when no offered tool can."""
        match step:
            case steps.Run():
                return self._run(step.run, step.escalate)
            case steps.Write():
                return self._write(step.write, step.text)
            case steps.Edit():
                return self._edit(step)
            case steps.Read():
                return self._read(step.read)
            case steps.Plan():
                return self._plan(step.plan)
            case steps.Ask():
                return self._ask(step.ask, step.options)
            case steps.Spawn():
                return self._spawn(step.spawn)
            case steps.Use():
                return self._first({step.tool: step.input})
            case _:
                return None

    def poll(self, session: int) -> Act | None:
        """Waits on for a command that Codex has put in the background."""
        return self._first({"write_stdin": {"session_id": session, "chars": "", "yield_time_ms": _POLL_MS}})

    def poll_code(self, cell: str) -> Act | None:
        """Waits on for code that Codex has put in the background."""
        return self._first({"wait": {"cell_id": cell, "yield_time_ms": _POLL_MS}})

    def wait_for(self, agent: str) -> Act | None:
        """Waits for a sub-agent of Codex; newer models wait for whichever has news."""
        waits: dict[str, Any] = {"timeout_ms": _LONG_MS}
        if "targets" in self._properties("wait_agent"):
            waits["targets"] = [agent]
        return self._first({"wait_agent": waits})

    def load(self, step: steps.Step) -> Act | None:
        """Looks for a tool that is not in the request yet: by Claude's ToolSearch, or Codex's tool_search."""
        if isinstance(step, steps.Spawn) and not {"spawn_agent", "Agent", "Task"} & set(self._offers):
            return self._first({"tool_search": {"query": "spawn sub-agent", "limit": 8}})
        wanted = {"plan": "TodoWrite", "ask": "AskUserQuestion"}.get(type(step).__name__.lower())
        wanted = step.tool if isinstance(step, steps.Use) else wanted
        if wanted is None or wanted in self._offers:
            return None
        return self._first({"ToolSearch": {"query": f"select:{wanted}", "max_results": 1}})

    def _first(self, inputs: Mapping[str, dict[str, Any] | str]) -> Act | None:
        for name, value in inputs.items():
            if offer := self._offers.get(name):
                return _act(offer, value)
        return None

    def _run(self, command: str, escalate: str | None) -> Act | None:
        codex: dict[str, Any] = {"cmd": command, "yield_time_ms": _YIELD_MS}
        shell: dict[str, Any] = {"command": ["bash", "-lc", command], "timeout_ms": _LONG_MS}
        if escalate:
            asks = {"sandbox_permissions": "require_escalated", "justification": escalate}
            codex |= asks
            shell |= asks
        about = escalate or "Run a scripted command"
        return self._first(
            {
                "exec_command": codex,
                "shell": shell,
                "shell_command": {**shell, "command": command},
                "Bash": {"command": command, "description": about, "timeout": _LONG_MS},
                "bash": {"command": command, "description": about},
                "run_shell_command": {"command": command, "description": about},
                "Execute": {
                    "command": command,
                    "summary": about,
                    "riskLevel": "low",
                    "riskLevelReason": about,
                },
            }
        )

    def _write(self, path: str, text: str) -> Act | None:
        patch = f"*** Begin Patch\n*** Add File: {path}\n{_prefixed('+', text)}*** End Patch\n"
        full = self._absolute(path)
        act = self._patch(patch) or self._first(
            {
                "Write": {"file_path": full, "content": text},
                "write": {"filePath": full, "content": text},
                "write_file": {"file_path": full, "content": text},
                "Create": {"file_path": full, "content": text},
            }
        )
        return act or self._patch_by_shell(patch) or self._run(f"cat > {shlex.quote(path)} {_heredoc(text)}", None)

    def _edit(self, step: steps.Edit) -> Act | None:
        change = _prefixed("-", step.old) + _prefixed("+", step.new)
        patch = f"*** Begin Patch\n*** Update File: {step.edit}\n@@\n{change}*** End Patch\n"
        full = self._absolute(step.edit)
        named = {"file_path": full, "old_string": step.old, "new_string": step.new}
        act = self._patch(patch) or self._first(
            {
                "Edit": {"file_path": full, "old_str": step.old, "new_str": step.new}
                if "old_str" in self._properties("Edit")
                else named,
                "edit": {"filePath": full, "oldString": step.old, "newString": step.new},
                "replace": {**named, "instruction": "Scripted edit"},
            }
        )
        return act or self._patch_by_shell(patch)

    def _read(self, path: str) -> Act | None:
        full = self._absolute(path)
        act = self._first({"Read": {"file_path": full}, "read": {"filePath": full}, "read_file": {"file_path": full}})
        return act or self._run(f"cat {shlex.quote(path)}", None)

    def _plan(self, plan: list[tuple[str, Any]]) -> Act | None:
        todos = [{"content": text, "status": status, "activeForm": text} for text, status in plan]
        plain = [{"content": text, "status": status, "priority": "medium"} for text, status in plan]
        return self._first(
            {
                "update_plan": {
                    "explanation": "scripted plan",
                    "plan": [{"step": text, "status": status} for text, status in plan],
                },
                "TodoWrite": {"todos": todos},
                "todowrite": {"todos": plain},
                "write_todos": {"todos": [{"description": text, "status": status} for text, status in plan]},
            }
        )

    def _ask(self, question: str, options: list[str]) -> Act | None:
        choices = [{"label": option, "description": option} for option in options]
        one: dict[str, Any] = {"header": "Question", "question": question, "options": choices}
        return self._first(
            {
                "request_user_input": {"questions": [{"id": "q1", **one}]},
                "AskUserQuestion": {"questions": [{**one, "multiSelect": False}]},
            }
        )

    def _spawn(self, prompt: str) -> Act | None:
        claude: dict[str, Any] = {
            "description": "Scripted sub-agent",
            "prompt": prompt,
            "subagent_type": "general-purpose",
        }
        if "run_in_background" in self._properties("Agent"):
            claude["run_in_background"] = False
        codex = {"message": prompt}
        if "task_name" in self._properties("spawn_agent"):
            codex |= {"task_name": "scripted", "fork_turns": "none"}
        return self._first({"spawn_agent": codex, "Agent": claude, "Task": claude})

    def _patch(self, patch: str) -> Act | None:
        offer = self._offers.get("apply_patch")
        if offer is None:
            return None
        # opencode has a name of its own for the same patch
        named = {"patchText" if "patchText" in offer.properties else "input": patch}
        return _act(offer, patch if offer.kind == "custom" else named)

    def _patch_by_shell(self, patch: str) -> Act | None:
        # Codex recognises this form in its command tools and turns it into a file change of its own
        if not {"exec_command", "shell", "shell_command"} & set(self._offers):
            return None
        return self._run(f"apply_patch {_heredoc(patch)}", None)

    def _absolute(self, path: str) -> str:
        return posixpath.join(self._folder, path) if self._folder else path

    def _properties(self, name: str) -> tuple[str, ...]:
        offer = self._offers.get(name)
        return offer.properties if offer else ()


def _prefixed(sign: str, text: str) -> str:
    return "".join(f"{sign}{line}\n" for line in text.splitlines())


def _heredoc(text: str) -> str:
    return f"<<'EOF'\n{text if text.endswith(chr(10)) else text + chr(10)}EOF"
