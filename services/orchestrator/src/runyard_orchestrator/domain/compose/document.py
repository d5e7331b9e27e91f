"""YAML of a stranger's, as far as Compose files need it: bounded in size, depth and in what its aliases stand for.

PyYAML's safe loader alone makes nothing but plain values, but merge keys (`<<`) copy what aliases stand for, again and
again, and it reads `22:22` as a number, `on` as true, and of two same keys the last. Values that say their type
themselves (`!!bool x`) make it raise anything.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

import yaml

from runyard_orchestrator.domain.compose.model import NotServed

MOST_BYTES = 128 * 1024
_MOST_DEPTH = 40
_MOST_NODES = 20_000
"""With every alias counted as what it stands for, and a text as more the longer it can become."""
_TEXT = 64
"""Characters of a text that count as one node."""
_WITH_VARIABLES = 40
"""Nodes that a text counts for beside its own length where its variables may make it longer."""


class _Loader(yaml.SafeLoader):
    """Nothing but text, lists, mappings and null: what a value means is for its key to say."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {  # noqa: RUF012 - PyYAML's own shape
        **{
            first: [("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"))] for first in ("", "~", "n", "N")
        },
        "<": [("tag:yaml.org,2002:merge", re.compile(r"^<<$"))],
    }

    yaml_constructors = {
        f"tag:yaml.org,2002:{kind}": yaml.SafeLoader.yaml_constructors[f"tag:yaml.org,2002:{kind}"]
        for kind in ("str", "seq", "map", "null")
    } | {None: yaml.SafeLoader.yaml_constructors[None]}

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A mapping, in which no key is said twice."""
        node = super().compose_mapping_node(anchor)
        said = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key, times in said.most_common(1):
            if times > 1:
                raise NotServed(f"The compose file says `{key}` twice in one place.")
        return node


def load(text: str) -> dict[str, Any]:
    """The document, a mapping.

    Raises:
        NotServed: it is none, or larger than anybody's.
    """
    if len(text.encode(errors="replace")) > MOST_BYTES:
        raise NotServed(f"The compose file is larger than {MOST_BYTES // 1024} KiB.")
    try:
        _weigh(text)
        found: Any = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" (line {mark.line + 1})"
        raise NotServed(f"The compose file is no YAML: {getattr(error, 'problem', None) or error}{where}.") from None
    except (ValueError, RecursionError, TypeError) as error:
        raise NotServed(f"The compose file is no YAML: {error}.") from None
    if not isinstance(found, dict):
        raise NotServed("The compose file is no mapping.")
    return found  # pyright: ignore[reportUnknownVariableType]


def _weigh(text: str) -> None:
    """Counts nodes before any is made."""
    total, begun = 0, list[tuple[str | None, int]]()
    weights = dict[str, int]()
    for event in cast("Iterator[Any]", yaml.parse(text, Loader=yaml.SafeLoader)):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in weights:
                raise NotServed(f"The compose file's alias *{event.anchor} stands for nothing, or for itself.")
            total += weights[event.anchor]
        elif isinstance(event, yaml.CollectionStartEvent):
            begun.append((event.anchor, total))
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = begun.pop()
            if anchor is not None:
                weights[anchor] = total - before
        elif isinstance(event, yaml.ScalarEvent):
            weight = _weight(event.value)
            total += weight
            if event.anchor is not None:
                weights[event.anchor] = weight
        if len(begun) > _MOST_DEPTH or total > _MOST_NODES:
            raise NotServed("The compose file is deeper, or with its aliases larger, than anybody's.")


def _weight(text: str) -> int:
    text.encode()  # an escape can say half a character, which nothing can be told of
    return 1 + len(text) // _TEXT + (_WITH_VARIABLES if "$" in text else 0)
