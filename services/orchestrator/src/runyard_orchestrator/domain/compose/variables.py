"""`$VARIABLE`s in a Compose file, from the project's own `.env` and from nothing else; and what such files say."""

import re
from collections.abc import Callable, Mapping

from runyard_orchestrator.domain.compose.model import NotServed

_LONGEST = 32 * 1024
_MOST_DEPTH = 10
_MOST_VARIABLES = 2000
_MOST_LINES = 200
_MOST_CHARACTERS = 1024 * 1024
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEY = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*(?:[=:]\s*(.*))?$", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$$"}


def interpolated(text: str, known: Mapping[str, str]) -> str:
    """The text with its variables' values; what is not known is empty, as Compose has it.

    Raises:
        NotServed: it is malformed, or says itself that a variable is needed.
    """
    return _until(text, 0, known, closing=False, depth=0)[0]


def variables(text: str, known: Mapping[str, str]) -> dict[str, str]:
    """What a file of variables says. Later lines may name what earlier ones have said, and `known`.

    Raises:
        NotServed: it is malformed, or larger than anybody's.
    """
    found, total = dict[str, str](), 0
    lines = iter(text.lstrip("\ufeff").splitlines())
    for line in lines:
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _KEY.match(stripped)
        if match is None:
            raise NotServed(f"A file of variables has a line that is none: {stripped[:60]!r}.")
        name, value = match[1], match[2]
        if value is None:
            if name in known:
                found[name] = known[name]
            continue
        found[name] = _value(value, lambda: next(lines, None), {**known, **found})
        total += len(found[name])
        if len(found) > _MOST_VARIABLES or total > _MOST_CHARACTERS:
            raise NotServed("A file of variables has more or longer ones than anybody's.")
    return found


def _value(text: str, following: Callable[[], str | None], known: Mapping[str, str]) -> str:
    quote = text[:1]
    if quote not in {"'", '"'}:
        return interpolated(re.split(r"\s#", text, maxsplit=1)[0].strip() if not text.startswith("#") else "", known)
    closed = re.compile(r"((?:[^\\']|\\.)*)'" if quote == "'" else r'((?:[^\\"]|\\.)*)"', re.DOTALL)
    rest, more = text[1:], 0
    while (match := closed.match(rest)) is None:
        line, more = following(), more + 1
        if line is None or more > _MOST_LINES:
            raise NotServed("A file of variables has a quote that does not end.")
        rest = f"{rest}\n{line}"
    if quote == "'":
        return match[1]
    return interpolated(re.sub(r"\\(.)", lambda one: _ESCAPES.get(one[1], one[0]), match[1]), known)


def _until(text: str, at: int, known: Mapping[str, str], *, closing: bool, depth: int) -> tuple[str, int]:
    """From `at` to the end, or behind the brace that closes what surrounds it."""
    if depth > _MOST_DEPTH:
        raise NotServed("A variable's default has too many defaults of its own.")
    out, length = list[str](), 0
    while at < len(text):
        char = text[at]
        if closing and char == "}":
            return "".join(out), at + 1
        if char != "$":
            stop = at + 1
            while stop < len(text) and text[stop] not in "$}":
                stop += 1
            piece, at = text[at:stop], stop
        else:
            piece, at = _variable(text, at + 1, known, depth)
        out.append(piece)
        length += len(piece)
        if length > _LONGEST:
            raise NotServed("A value becomes too long with its variables.")
    if closing:
        raise NotServed(f"A variable's brace does not end: {text[:60]!r}.")
    return "".join(out), at


def _variable(text: str, at: int, known: Mapping[str, str], depth: int) -> tuple[str, int]:
    """What stands behind a dollar sign."""
    if text.startswith("$", at):
        return "$", at + 1
    braced = text.startswith("{", at)
    match = _NAME.match(text, at + braced)
    if match is None:
        raise NotServed(f"A dollar sign is no variable's: {text[:60]!r}. A plain one is written $$.")
    name, at = match[0], match.end()
    if not braced:
        return known.get(name, ""), at
    colon = text.startswith(":", at)
    kind = text[at + colon : at + colon + 1]
    if kind == "}" and not colon:
        return known.get(name, ""), at + 1
    if kind not in {"-", "?", "+"}:
        raise NotServed(f"A variable is malformed: {text[:60]!r}.")
    other, at = _until(text, at + colon + 1, known, closing=True, depth=depth + 1)
    is_set = bool(known.get(name)) if colon else name in known
    match kind:
        case "+":
            return other if is_set else "", at
        case "?" if not is_set:
            raise NotServed(f"The variable {name} is needed, and the project's .env does not have it. {other}".strip())
        case _:
            return known[name] if is_set else other, at
