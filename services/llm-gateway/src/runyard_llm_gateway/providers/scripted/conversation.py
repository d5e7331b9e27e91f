"""A request in any of the four APIs, read into one shape: who said what, and which tools are offered."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from runyard_llm_gateway.json_values import items, mapping

Role = Literal["system", "user", "assistant", "call", "result"]

_MACHINERY = re.compile(
    r"^\s*(?:<(environment_context|user_instructions|permissions instructions|skills_instructions"
    r"|subagent_notification|task-notification|turn_aborted|user_shell_command|collaboration_mode|session_context)\b"
    r"|# AGENTS\.md instructions|Tool loaded\.)"
)
_REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)
_INTERRUPTED = re.compile(r"^\s*(?:<turn_aborted>|\[Request interrupted by user)")
_FOLDER = re.compile(
    r"<cwd>(?P<tag>[^<\n]+)</cwd>"
    r"|(?:Primary working directory|Working directory|Current working directory): *(?P<line>[^\n]+)"
    r"|Workspace Directories:\*\*\n *- (?P<item>[^\n]+)"
)


@dataclass(frozen=True, slots=True)
class Said:
    """One entry of a conversation. Calls and their results are paired by `call_id`."""

    role: Role
    text: str
    call_id: str = ""
    name: str = ""

    @property
    def interrupts(self) -> bool:
        """Whether the agent notes here that its user has stopped the turn."""
        return self.role == "user" and _INTERRUPTED.match(self.text) is not None

    @property
    def is_prompt(self) -> bool:
        """Whether a person (or a parent agent) wrote this, not the agent's own machinery."""
        return self.role == "user" and bool(self.words) and not _MACHINERY.match(self.text) and not self.interrupts

    @property
    def words(self) -> str:
        """The text without the reminders that an agent adds."""
        return _REMINDER.sub("", self.text).strip()


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool that the request offers. Custom ones take free text instead of JSON.

    One that is `within` another is used by way of code that the other runs.
    """

    name: str
    kind: Literal["function", "custom", "tool_search"] = "function"
    namespace: str | None = None
    properties: tuple[str, ...] = ()
    within: "Offer | None" = None


@dataclass(frozen=True)
class Conversation:
    """What a request says, whatever the API. `size` counts the characters that the model would read."""

    said: tuple[Said, ...]
    offers: Mapping[str, Offer]
    model: str
    stream: bool
    digest: str
    size: int
    thinks: bool = True
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @cached_property
    def folder(self) -> str | None:
        """The agent's working folder, where it tells it."""
        for entry in self.said:
            if entry.role in ("system", "user") and (found := _FOLDER.search(entry.text)):
                return (found["tag"] or found["line"] or found["item"]).strip()
        return None

    @cached_property
    def cached_size(self) -> int:
        """Characters that an earlier request of this conversation has already carried."""
        last = max((i for i, entry in enumerate(self.said) if entry.role in ("assistant", "call")), default=-1)
        fresh = sum(len(entry.text) for entry in self.said[last:])
        return max(self.size - fresh, 0) if last >= 0 else 0

    def call_named(self, call_id: str) -> str:
        """The name of the tool that a call used; empty when the call is not in the request."""
        return next((entry.name for entry in self.said if entry.role == "call" and entry.call_id == call_id), "")


def digest_of(body: bytes) -> str:
    """Names a request; every identifier in its answer is derived from it."""
    return hashlib.sha256(body).hexdigest()


def tokens(size: int) -> int:
    """Characters to tokens: four to one, the usual estimate for English and code."""
    return -(-size // 4)


def joined(content: Any) -> str:
    """The text of a content field: a string, or a list of parts that carry text."""
    if isinstance(content, str):
        return content
    parts: list[str] = []
    for part in items(content):
        if isinstance(part, str):
            parts.append(part)
        elif isinstance(part, dict):
            value = mapping(part)
            parts.append(joined(value.get("text", value.get("content", ""))))
    return "\n".join(parts)
