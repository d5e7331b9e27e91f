"""Secrets are replaced before anything is appended or logged.

Two ways to know one: its shape (keys of known providers, private keys, bearer tokens) and its
fingerprint, a keyed hash of the whole word. With fingerprints a service recognises a key that it was
never given, so provider keys stay in llm-gateway.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

MASK = "[redacted]"
_PREFIX = 8
"""Length of a word's beginning whose hash tells a stream that a secret may be on its way."""
_SHORTEST = 12
_LONGEST = 512
_KEPT = 8192

_SHAPES = re.compile(
    r"""
      (?<![A-Za-z0-9])sk-(?:ant-|proj-|or-|svcacct-)?[A-Za-z0-9_-]{16,}
    | (?<![A-Za-z0-9])gh[pousr]_[A-Za-z0-9]{30,}
    | (?<![A-Za-z0-9])github_pat_[A-Za-z0-9_]{30,}
    | (?<![A-Za-z0-9])glpat-[A-Za-z0-9_-]{18,}
    | (?<![A-Za-z0-9])xox[abeprs]-[A-Za-z0-9-]{10,}
    | (?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])
    | (?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{33,}
    | (?<![A-Za-z0-9])lsv2_(?:pt|sk)_[A-Za-z0-9_]{20,}
    | (?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}
    | -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----.*?(?:-----END\ [A-Z ]*PRIVATE\ KEY-----|\Z)
    """,
    re.VERBOSE | re.DOTALL,
)
_HINT = re.compile(r"sk-|gh[pousr]_|github_pat_|glpat-|xox|AKIA|ASIA|AIza|lsv2_|eyJ|-----BEGIN")
_WORD = re.compile(rf"[A-Za-z0-9_\-.~+/]{{{_SHORTEST},}}")
_WORD_CHARACTER = re.compile(r"[A-Za-z0-9_\-.~+/]")

Model = TypeVar("Model")


def fingerprint(secret: str, salt: str) -> str:
    """The keyed hash by which a secret is recognised without being known; `prefix:whole`, hex."""
    return f"{_digest(secret[:_PREFIX], salt)}:{_digest(secret, salt)}"


def _digest(text: str, salt: str) -> str:
    return hmac.new(salt.encode(), text.encode(), hashlib.sha256).hexdigest()[:32]


@dataclass(frozen=True)
class Redactor:
    """Replaces secrets in text and in JSON values; without fingerprints it still knows the shapes."""

    salt: str = ""
    fingerprints: frozenset[str] = frozenset()
    _wholes: frozenset[str] = field(init=False, repr=False)
    _prefixes: frozenset[str] = field(init=False, repr=False)
    _judged: dict[str, bool] = field(init=False, repr=False, compare=False, default_factory=dict[str, bool])
    """Words come again and again (ids, names of methods), and a keyed hash of each is what redaction costs."""

    def __post_init__(self) -> None:
        pairs = [one.split(":", 1) for one in self.fingerprints]
        object.__setattr__(self, "_prefixes", frozenset(pair[0] for pair in pairs))
        object.__setattr__(self, "_wholes", frozenset(pair[-1] for pair in pairs))

    @classmethod
    def for_secrets(cls, secrets: Iterable[str], salt: str) -> "Redactor":
        """A redactor that knows these secrets (those too short to be told from words are left out)."""
        return cls(salt, frozenset(fingerprint(one, salt) for one in secrets if len(one) >= _SHORTEST))

    def clean(self, text: str) -> str:
        """The text with every secret replaced by `[redacted]`."""
        if _HINT.search(text):
            text = _SHAPES.sub(MASK, text)
        if self._wholes and len(text) >= _SHORTEST:
            text = _WORD.sub(lambda match: MASK if self._is_secret(match[0]) else match[0], text)
        return text

    def clean_value(self, value: Any) -> Any:
        """The same for every string of a JSON value, keys of objects included."""
        if isinstance(value, str):
            return self.clean(value)
        if isinstance(value, dict):
            return {self.clean(str(key)): self.clean_value(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        if isinstance(value, list | tuple):
            return [self.clean_value(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
        return value

    def clean_payload(self, payload: Model) -> Model:
        """The same for a payload model; one without secrets comes back as it is."""
        value: Any = payload.model_dump(by_alias=True, mode="json")  # type: ignore[attr-defined]
        cleaned = self.clean_value(value)
        return payload if cleaned == value else type(payload).model_validate(cleaned)  # type: ignore[attr-defined]

    def stream(self) -> "StreamRedactor":
        """A redactor of one text that arrives in pieces."""
        return StreamRedactor(self)

    def _is_secret(self, word: str) -> bool:
        judged = self._judged.get(word)
        if judged is None:
            if len(self._judged) >= _KEPT:
                self._judged.clear()
            judged = any(_digest(part, self.salt) in self._wholes for part in _parts(word))
            self._judged[word] = judged
        return judged

    def may_begin(self, word: str) -> bool:
        """Whether a word that begins like this may become a secret."""
        if _HINT.match(word):
            return True
        return len(word) >= _PREFIX and _digest(word[:_PREFIX], self.salt) in self._prefixes


def _parts(word: str) -> Iterator[str]:
    """The word itself and, where it is a path or a list, its pieces: `user/key`, `a.key`."""
    yield word
    stripped = word.strip("./-+~")
    if stripped != word:
        yield stripped
    for separator in "/.":
        if separator in word:
            yield from (piece for piece in word.split(separator) if len(piece) >= _SHORTEST)


class StreamRedactor:
    """Keeps back the end of a piece while it may be the beginning of a secret.

    Words too short to be judged (under 8 characters) pass at once, so streaming text is not delayed;
    at worst the first 7 characters of a secret are seen, never the secret.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._word = ""
        self._held = ""

    def feed(self, piece: str) -> str:
        """What may be shown now of all that has arrived so far."""
        text = self._held + piece
        self._held = ""
        tail = _trailing_word(text)
        body = text[: len(text) - len(tail)]
        if not body:
            return self._grow(tail)
        shown = self._finish(body)
        self._word = ""
        return shown + self._grow(tail)

    def flush(self) -> str:
        """The rest, when the text has ended."""
        held, self._held = self._held, ""
        shown = self._finish(held)
        self._word = ""
        return shown

    def _grow(self, tail: str) -> str:
        word = self._word + tail
        if tail and len(word) <= _LONGEST and self._redactor.may_begin(word):
            self._held = tail
            return ""
        self._word = word[-_LONGEST:]
        return tail

    def _finish(self, text: str) -> str:
        """Cleans text whose first characters may end a word that has been shown in part."""
        cleaned = self._redactor.clean(self._word + text)
        if cleaned.startswith(self._word):
            return cleaned[len(self._word) :]
        return cleaned if cleaned.startswith(MASK) else self._redactor.clean(text)


def _trailing_word(text: str) -> str:
    end = len(text)
    while end and _WORD_CHARACTER.match(text[end - 1]):
        end -= 1
    return text[end:]
