"""Values of one key of one service, each read strictly: what it is not meant to be is refused with the key's name."""

import posixpath
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from runyard_orchestrator.domain.compose.model import NotServed
from runyard_orchestrator.domain.compose.variables import interpolated

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:us|ms|s|m|h))+")
_PIECE = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)")
_LONGEST_SECONDS = 86_400
_LONGEST_MESSAGE = 500
_OURS = ("/proc", "/sys", "/dev", "/run/secrets")
"""Below these nothing of a project's own is put."""


def says_no(raw: Any) -> bool:
    """Whether a value says nothing, or no."""
    return raw is None or raw in ("", "false", "False", "no", "0") or raw in ([], {})


@dataclass(frozen=True, slots=True)
class Value:
    """A value and where it stands."""

    service: str
    key: str
    raw: Any
    known: Mapping[str, str]

    def refuse(self, why: str) -> NoReturn:
        """Says what is wrong with it."""
        if len(why) > _LONGEST_MESSAGE:
            why = f"{why[:_LONGEST_MESSAGE]} [...]"
        raise NotServed(f"Service {self.service}, `{self.key[:_LONGEST_MESSAGE]}`: {why}")

    def inner(self, key: str, raw: Any) -> "Value":
        """A part of it."""
        return Value(self.service, f"{self.key}.{key}" if self.key else key, raw, self.known)

    @property
    def is_off(self) -> bool:
        """Whether it says nothing, or no."""
        return says_no(self.raw)

    def text(self) -> str:
        """One text, its variables put in."""
        if not isinstance(self.raw, str):
            self.refuse("a text is expected here.")
        try:
            found = interpolated(self.raw, self.known)
        except NotServed as error:
            self.refuse(str(error))
        if "\0" in found:
            self.refuse("a text is expected here.")
        return found

    def flag(self) -> bool:
        """Yes or no."""
        found = self.text().lower()
        if found not in {"true", "false"}:
            self.refuse("true or false is expected here.")
        return found == "true"

    def number(self, most: int = 1_000_000) -> int:
        """A whole number from 0 on."""
        found = self.text()
        if not (found.isascii() and found.isdigit() and len(found) < 9) or int(found) > most:  # noqa: PLR2004
            self.refuse(f"a number up to {most} is expected here, not {found!r}.")
        return int(found)

    def seconds(self) -> float:
        """A duration like `1m30s`."""
        found = self.text()
        if not _DURATION.fullmatch(found):
            self.refuse(f"a duration like 1m30s is expected here, not {found!r}.")
        seconds = sum(float(piece[1]) * _SECONDS[piece[2]] for piece in _PIECE.finditer(found))
        if seconds > _LONGEST_SECONDS:
            self.refuse("nobody waits longer than a day.")
        return seconds

    def items(self) -> "list[Value]":
        """The values of a list."""
        if not isinstance(self.raw, list):
            self.refuse("a list is expected here.")
        return [Value(self.service, self.key, one, self.known) for one in cast("list[Any]", self.raw)]

    def one_or_more(self) -> "list[Value]":
        """The values of a list, or a single one as if it were."""
        return self.items() if isinstance(self.raw, list) else [self]

    def fields(self) -> "dict[str, Value]":
        """The values of a mapping."""
        if not isinstance(self.raw, dict):
            self.refuse("a mapping is expected here.")
        found = cast("dict[Any, Any]", self.raw)
        if not all(isinstance(key, str) for key in found):
            self.refuse("its keys are texts.")
        return {key: self.inner(key, raw) for key, raw in found.items()}

    def only(self, *keys: str, passed_over: tuple[str, ...] = ()) -> "dict[str, Value]":
        """The fields of these keys; every other one is refused unless it says nothing, or is passed over."""
        found = self.fields()
        for key, value in found.items():
            if key not in keys and key not in passed_over and not key.startswith("x-") and not value.is_off:
                value.refuse("this is not possible in a preview.")
        return {key: found[key] for key in keys if key in found and found[key].raw is not None}

    def variables(self) -> dict[str, str]:
        """`KEY: value` or `- KEY=value`; a key without a value has that of the project's `.env`, if any."""
        found: dict[str, str] = {}
        pairs: list[tuple[str, Value | None]]
        if isinstance(self.raw, dict):
            pairs = [(name, None if value.raw is None else value) for name, value in self.fields().items()]
        else:
            split = [(one, *one.text().partition("=")) for one in self.items()]
            pairs = [
                # The variables are in already: a value of theirs is no expression.
                (name, Value(self.service, self.key, value.replace("$", "$$"), self.known) if sign else None)
                for _, name, sign, value in split
            ]
        for name, value in pairs:
            if not name or "=" in name or "\0" in name or "\n" in name:
                self.refuse(f"{name!r} is no variable's name.")
            if value is not None:
                found[name] = value.text()
            elif name in self.known:
                found[name] = self.known[name]
        return found

    def words(self) -> tuple[str, ...] | None:
        """A command, as a list or as one line; None where it is not said."""
        if self.raw is None:
            return None
        if isinstance(self.raw, list):
            return tuple(one.text() for one in self.items())
        try:
            return tuple(shlex.split(self.text()))
        except ValueError as error:
            self.refuse(f"the line cannot be split into words: {error}.")

    def path(self, below: str) -> str:
        """A path relative to the top of the project's files, from one relative to `below`."""
        found = self.text()
        if "://" in found or found.startswith(("git@", "github.com/")) or found.endswith(".git"):
            self.refuse(f"{found} is an address; only the project's own files are served.")
        if found.startswith(("/", "~", "\\")) or re.match(r"[A-Za-z]:[\\/]", found):
            self.refuse(f"{found} is a path of the host; only the project's own files are served.")
        whole = posixpath.normpath(posixpath.join(below, found))
        if whole == ".." or whole.startswith("../"):
            self.refuse(f"{found} leads out of the project.")
        return "" if whole == "." else whole

    def place(self) -> str:
        """A path inside a container at which something is put."""
        found = posixpath.normpath(self.text())
        if not found.startswith("/") or found.startswith("//") or found == "/" or any(one in found for one in ",:\n"):
            self.refuse(f"{found} is no place inside a container for files.")
        if any(found == one or found.startswith(f"{one}/") or one.startswith(f"{found}/") for one in _OURS):
            self.refuse(f"{found} inside a container is not the project's.")
        return found
