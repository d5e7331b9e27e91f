"""Asking the person at the terminal what the agent may do."""

from collections.abc import Callable, Mapping
from typing import Any, cast

CHOICES = {
    "accept": "a",
    "accept_for_session": "s",
    "decline": "d",
    "cancel": "c",
}
WORDS = {
    "accept": "[a]ccept",
    "accept_for_session": "accept for the [s]ession",
    "decline": "[d]ecline",
    "cancel": "[c]ancel the run",
}

Ask = Callable[[str], str]


def ask_decision(approval: Mapping[str, Any], ask: Ask) -> dict[str, Any]:
    """The body of the answer to an approval; asks again until the answer is one of its options."""
    questions = cast("list[Mapping[str, Any]]", approval.get("questions") or [])
    if approval.get("askKind") == "question" and questions:
        return {"decision": "accept", "answers": {_key(one): _answer(one, ask) for one in questions}}
    options = [option for option in approval.get("options") or () if option in CHOICES] or ["accept", "decline"]
    prompt = " · ".join(WORDS[option] for option in options)
    while True:
        typed = ask(f"  {prompt} > ").strip().lower()
        for option in options:
            if typed in {CHOICES[option], option, option.replace("_", " ")}:
                return {"decision": option}


def _key(question: Mapping[str, Any]) -> str:
    return str(question.get("id") or question.get("question") or "")


def _answer(question: Mapping[str, Any], ask: Ask) -> str:
    labels = [_label(option) for option in question.get("options") or ()]
    listed = "".join(f"\n    {number}. {label}" for number, label in enumerate(labels, 1))
    typed = ask(f"  {question.get('question', '')}{listed}\n  > ").strip()
    if typed.isascii() and typed.isdigit() and 1 <= int(typed) <= len(labels):
        return labels[int(typed) - 1]
    return typed


def _label(option: object) -> str:
    if isinstance(option, dict):
        return str(cast("dict[str, Any]", option).get("label", ""))
    return str(option)
