"""A Compose file as a whole: what of it is run, in which order, and which part of it is the page."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from runyard_orchestrator.domain.compose.document import load
from runyard_orchestrator.domain.compose.model import NotServed, Service
from runyard_orchestrator.domain.compose.services import ports_of, service_of
from runyard_orchestrator.domain.compose.values import Value, says_no
from runyard_sandbox.provisioner import PROXY_NAME

FILES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
"""In the order in which Compose looks for them."""
_TOP = frozenset({"services", "volumes", "networks", "secrets", "configs", "name", "version"})
"""What a service does not use of these changes nothing; what it uses is looked at there."""
_PAGES = ("web", "frontend", "app", "www", "site", "ui", "client")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_TAKEN = frozenset({PROXY_NAME, "localhost"})
"""Names that mean something else in every container, however they are written."""
MOST_BESIDE = 3
"""Services that a page may need: as many as the smallest network has addresses for."""


@dataclass(frozen=True, slots=True)
class Project:
    """What is run: what the page needs, in the order in which it is started, and the page itself."""

    page: Service
    beside: tuple[Service, ...] = ()

    @property
    def services(self) -> tuple[Service, ...]:
        """All of them, in the order in which they are started."""
        return (*self.beside, self.page)


def parse(text: str, known: Mapping[str, str], *, folder: str = "", wanted: str | None = None) -> Project:
    """What is run of a file for a page. `known` is the project's own `.env`, `folder` where the file is.

    As with `docker compose up SERVICE`, that is the page's service and those that it depends on; nothing is said about
    the others, whatever they are.

    Raises:
        NotServed: it cannot be, and why.
    """
    whole = load(text)
    for key, raw in whole.items():
        if key not in _TOP and not str(key).startswith("x-") and not says_no(raw):
            raise NotServed(f"The compose file's `{key}` is not possible in a preview.")
    services, top = _mapping(whole, "services"), {key: _mapping(whole, key) for key in ("networks", "volumes")}
    values = {name: Value(name, "", raw, known) for name, raw in services.items()}
    for name, value in values.items():
        if not _NAME.fullmatch(name) or name.lower() in _TAKEN:
            raise NotServed(f"{name[:100]!r} cannot be the name of a service in a preview.")
        value.fields()
    page = wanted if wanted is not None else _page(values)
    if page not in values:
        raise NotServed(f"The compose file has no service {page}.")
    order = dict[str, Service]()
    _start(page, values, folder, top, order, ())
    *beside, last = order.values()
    if len(beside) > MOST_BESIDE:
        raise NotServed(
            f"Service {page} needs {len(beside)} others ({', '.join(one.name for one in beside)}), and a preview has "
            f"room for {MOST_BESIDE}."
        )
    return Project(last, tuple(beside))


def _start(  # noqa: PLR0917 - it goes down into what is needed
    name: str,
    values: Mapping[str, Value],
    folder: str,
    top: Mapping[str, Mapping[str, Any]],
    order: dict[str, Service],
    above: tuple[str, ...],
) -> None:
    """Puts a service behind those that it needs."""
    if name in above:
        raise NotServed(f"Service {name}, `depends_on`: it needs itself, by way of {', '.join(above)}.")
    if name in order:
        return
    if len(above) > MOST_BESIDE:
        raise NotServed(f"Service {above[0]} needs more than the {MOST_BESIDE} others that a preview has room for.")
    service = service_of(values[name], folder, top)
    for needed, condition in service.needs.items():
        if needed not in values:
            raise NotServed(f"Service {name}, `depends_on`: there is no service {needed}.")
        _start(needed, values, folder, top, order, (*above, name))
        if condition == "service_healthy" and order[needed].check is None:
            raise NotServed(f"Service {name}, `depends_on`: {needed} has no `healthcheck` that could be waited for.")
    order[name] = service


def _page(values: Mapping[str, Value]) -> str:
    """The service of the page: the only one that publishes a port, else that exposes one, else by its name."""
    usual = {name: value for name, value in values.items() if "profiles" not in value.fields()}
    published = [name for name, value in usual.items() if "ports" in value.fields() and ports_of(value)]
    exposing = [name for name, value in usual.items() if ports_of(value)]
    candidates = published or exposing or list(usual)
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise NotServed("The compose file has no services.")
    for name in _PAGES:
        if name in candidates:
            return name
    raise NotServed(
        f"The compose file has several services that could be the page: {', '.join(candidates)[:300]}. "
        f"Ask for one of them as `compose-{candidates[0]}`."
    )


def _mapping(whole: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = whole.get(key)
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in cast("dict[Any, Any]", found)):
        raise NotServed(f"The compose file's `{key}` is no mapping of names.")
    return cast("dict[str, Any]", found)
