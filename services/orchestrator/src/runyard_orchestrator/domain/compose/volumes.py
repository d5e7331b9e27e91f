"""What a service has in places of its own: the project's files, fresh volumes, empty memory. Nothing of the host."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from runyard_orchestrator.domain.compose.model import Bind
from runyard_orchestrator.domain.compose.values import Value, says_no

_MODES = frozenset({"rw", "ro", "z", "Z", "cached", "delegated", "consistent"})
_MOST_PLACES = 30
"""Each is a mount that the engine makes."""
_TEMPORARY = "/tmp"  # noqa: S108 - inside, where it is empty and in memory anyway


@dataclass(frozen=True, slots=True)
class Places:
    """Where is what, inside."""

    binds: tuple[Bind, ...]
    volumes: tuple[str, ...]
    scratch: tuple[str, ...]


def is_external(described: Any) -> bool:
    """Whether a network or volume of the file is somebody else's."""
    if not isinstance(described, dict):
        return False
    return not says_no(cast("dict[str, Any]", described).get("external"))


def places_of(volumes: Value | None, tmpfs: Value | None, folder: str, named: Mapping[str, Any]) -> Places:
    """What is asked for by `volumes` and `tmpfs`. `named` are the file's own volumes.

    An anonymous volume begins with what the image has there; a named one begins empty, and ends with the preview.

    Raises:
        NotServed: something of the host's, or of another project's.
    """
    binds, fresh, scratch = dict[str, Bind](), dict[str, None](), dict[str, None]()
    asked = volumes.items() if volumes else []
    memory = tmpfs.one_or_more() if tmpfs else []
    if len(asked) + len(memory) > _MOST_PLACES:
        (volumes or tmpfs or asked[0]).refuse(f"a preview's container has no more than {_MOST_PLACES} places.")
    for value in asked:
        kind, source, target, read_only = _long(value) if isinstance(value.raw, dict) else _short(value)
        place = target.place()
        if place == _TEMPORARY and kind != "bind":
            continue
        if kind == "bind" and source is not None:
            binds[place] = _bind(source, folder, place, read_only=read_only)
        elif kind == "volume" and source is None:
            fresh[place] = None
        else:
            if source is not None:
                _own(source, named)
            scratch[place] = None
    for value in memory:
        target = value.text().partition(":")[0]
        if target != _TEMPORARY:
            scratch[Value(value.service, value.key, target.replace("$", "$$"), {}).place()] = None
    return Places(tuple(binds.values()), tuple(fresh), tuple(place for place in scratch if place not in fresh))


def _bind(source: Value, folder: str, place: str, *, read_only: bool) -> Bind:
    path = source.path(folder)
    if place == _TEMPORARY:
        source.refuse(f"{place} is a preview's own.")
    if path:
        # An agent could put a link in its place, at the very moment, and the engine follows links.
        source.refuse(
            f"a part of the project ({path}) cannot be mounted, only all of it. Mount the project's top folder, or "
            "copy what is needed in the Dockerfile."
        )
    return Bind(place, read_only)


def _own(source: Value, named: Mapping[str, Any]) -> None:
    name = source.text()
    if name not in named:
        source.refuse(f"the volume {name} is not one of the file's own `volumes`.")
    described = named[name]
    if is_external(described):
        source.refuse(f"the volume {name} is not the project's own (`external`).")
    if described is not None:
        source.inner(name, described).only(passed_over=("name", "labels", "external"))


def _short(value: Value) -> tuple[str, Value | None, Value, bool]:
    parts = value.text().split(":")

    def part(text: str) -> Value:
        return Value(value.service, value.key, text.replace("$", "$$"), {})

    match parts:
        case [target]:
            return "volume", None, part(target), False
        case [source, target]:
            modes = ""
        case [source, target, modes]:
            pass
        case _:
            value.refuse(f"{value.text()[:100]!r} is no volume.")
    if not _MODES.issuperset(asked := set(modes.split(",")) - {""}):
        value.refuse(f"the mode {modes[:60]!r} is not possible in a preview.")
    kind = "bind" if source.startswith((".", "/", "~", "\\")) or "/" in source else "volume"
    return kind, part(source), part(target), "ro" in asked


def _long(value: Value) -> tuple[str, Value | None, Value, bool]:
    said = value.only("type", "source", "target", "read_only", passed_over=("consistency", "tmpfs"))
    kind = said["type"].text() if "type" in said else "volume"
    if kind not in {"bind", "volume", "tmpfs"}:
        value.refuse(f"the type {kind[:60]!r} is not possible in a preview.")
    if "target" not in said or (kind == "bind" and "source" not in said):
        value.refuse("a volume without a `target`, or a bind without a `source`.")
    source = None if kind == "tmpfs" else said.get("source")
    return kind, source, said["target"], "read_only" in said and said["read_only"].flag()
