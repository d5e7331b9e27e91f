"""What the model does without a script: says what it is, and a few small things that need no thinking."""

import re
from typing import Any

from runyard_llm_gateway.providers.scripted.conversation import Conversation, Said

WHO = (
    "I am Runyard's scripted offline model: no provider key is configured for this API, so no language model "
    "is behind this answer. I follow a fixed script and cannot reason."
)
HOW = (
    "Set OPENAI_API_KEY, CODEX_API_KEY, ANTHROPIC_API_KEY or GEMINI_API_KEY (or a compatible base URL) for "
    "llm-gateway to use a real model."
)
CAN = "What I can do: list the files, and add a small text file that says what this folder holds."

_CREATES = re.compile(
    r"\b(?:add|create|write|make)\b[^\n]*?(?<![\w/])(?P<file>[\w-][\w./-]*\.[A-Za-z]\w{0,5})\b", re.IGNORECASE
)
_LISTS = re.compile(r"\b(?:list|show|look at|which|what)\b[^\n]*\b(?:files?|folder|director(?:y|ies))\b", re.IGNORECASE)
_SHELL_OF_GEMINI = re.compile(
    r"<untrusted_context>\nOutput: (?P<body>.*?)"
    r"(?:\n(?:Error|Exit Code|Signal|Background PIDs|Process Group PGID): [^\n]*)*\n</untrusted_context>",
    re.DOTALL,
)
_TITLE_LINES = 3
_SHOWN = 40

Steps = list[dict[str, Any]]


def improvise(conversation: Conversation, prompt: str, results: list[Said]) -> Steps:
    """The steps for a plain prompt, seen from the results that are already there."""
    creates = _CREATES.search(prompt)
    if not conversation.offers or not (creates or _LISTS.search(prompt)):
        return [{"say": f"{WHO}\n\n{CAN}\n\n{HOW}"}]
    listing = entries(results[0].text) if results else []
    steps: Steps = [{"say": f"{WHO} I list the files first."}, {"run": "ls -1A"}]
    readme = next((name for name in listing if name.lower().startswith("readme")), None)
    if readme:
        steps.append({"run": f"head -n 20 {_quoted(readme)}"})
    if not creates:
        return [*steps, {"say": _summary(listing) + f"\n\n{HOW}"}]
    target = creates["file"]
    if target in listing:
        return [*steps, {"say": f"{target} is already there; I leave it as it is.\n\n{HOW}"}]
    title = title_of(results[1].text) if readme and len(results) > 1 else None
    return [
        *steps,
        {"write": target, "text": notes(target, listing, title)},
        {"say": f"{_summary(listing)} I added {target}, which says so.\n\n{HOW}"},
    ]


def entries(output: str) -> list[str]:
    """The names in the output of `ls -1A`, without what agents wrap around it and without `.git`."""
    return [line.strip() for line in _bare(output).splitlines() if line.strip() and line.strip() != ".git"]


def title_of(output: str) -> str | None:
    """The first line of a README that says something."""
    lines = (line.strip().lstrip("#").strip() for line in _bare(output).splitlines())
    return next((line for line in lines if line and not line.startswith(("<", "!", "["))), None)


def notes(target: str, listing: list[str], title: str | None) -> str:
    """The text of the file that the model adds: only what the listing and the README have shown."""
    stem = target.rpartition("/")[2].rpartition(".")[0]
    about = f"Its README is titled: {title}\n\n" if title else ""
    shown = "".join(f"- `{name}`\n" for name in listing[:_SHOWN]) or "- nothing\n"
    more = f"- and {len(listing) - _SHOWN} more\n" if len(listing) > _SHOWN else ""
    return (
        f"# {stem}\n\n{about}At its top level this folder holds:\n\n{shown}{more}\n"
        "Written by Runyard's scripted offline model from this listing alone.\n"
    )


def _summary(listing: list[str]) -> str:
    names = ", ".join(listing[:_SHOWN])
    return f"At the top level there are {len(listing)} entries: {names}." if listing else "The folder is empty."


def _bare(output: str) -> str:
    """What a command wrote, without what Codex and gemini-cli tell around it."""
    found = _SHELL_OF_GEMINI.search(output)
    return found["body"] if found else output.rpartition("Output:\n")[2]


def _quoted(name: str) -> str:
    return "'" + name.replace("'", "'\\''") + "'"
