"""Holds the rules of the house about who may import whom, and about names of other services' tables.

    python tools/check_imports.py        # prints what breaks a rule; exit code 1 if anything does

- libs/events imports no other part of Runyard; libs/chassis only events; libs/runner events and chassis;
  libs/sandbox only events.
- A service imports libs/* (not stack) and never another service.
- A service's `domain` imports nothing that does input or output.
- Nobody but libs/stack imports a service.
- A service's SQL names no schema but its own.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = {
    "events": set[str](),
    "chassis": {"events"},
    "runner": {"events", "chassis"},
    "sandbox": {"events"},
}
SERVICE_MAY = {"events", "chassis", "runner", "sandbox"}
NO_IO_IN_DOMAIN = {
    "nats",
    "sqlalchemy",
    "fastapi",
    "faststream",
    "aiohttp",
    "httpx",
    "asyncpg",
    "asyncio",
    "os",
    "time",
}
DOMAIN_MAY_OF_EVENTS = {"catalogue", "ids", "model", "subjects", "envelope", "errors", "commands"}


def packages() -> dict[str, Path]:
    """Import name without prefix -> source folder, for libraries and services."""
    sources = [*ROOT.glob("libs/*/src/runyard_*"), *ROOT.glob("services/*/src/runyard_*")]
    return {source.name.removeprefix("runyard_"): source for source in sources}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full module name of every import in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.lineno, node.module


def may_import(name: str, source: Path) -> set[str]:
    """Which other parts this part may import."""
    if name == "stack":
        return set(packages())
    if source.parts[-4] == "services":
        return SERVICE_MAY
    return ALLOWED[name]


def broken_in(path: Path, name: str, source: Path) -> Iterator[str]:
    """The rules that one file breaks."""
    where = path.relative_to(ROOT)
    allowed = may_import(name, source) | {name}
    in_domain = "domain" in path.relative_to(source).parts or path.name == "domain.py"
    for line, module in imports(path):
        top, *rest = module.split(".")
        if top.startswith("runyard_") and top.removeprefix("runyard_") not in allowed:
            yield f"{where}:{line}: {name} may not import {module}"
        if in_domain and source.parts[-4] == "services":
            if top in NO_IO_IN_DOMAIN:
                yield f"{where}:{line}: a domain does no input or output, so it may not import {module}"
            if top == "runyard_chassis" or (top == "runyard_events" and rest and rest[0] not in DOMAIN_MAY_OF_EVENTS):
                yield f"{where}:{line}: a domain may not import {module}"


def foreign_schemas(path: Path, name: str, schemas: set[str]) -> Iterator[str]:
    """Mentions of another service's schema in SQL or table definitions."""
    own = name
    for schema in schemas - {own}:
        for match in re.finditer(
            rf"schema\s*=\s*[\"']{schema}[\"']|\b(?:FROM|JOIN|INTO|UPDATE)\s+{schema}\.", path.read_text()
        ):
            yield f"{path.relative_to(ROOT)}: names the schema of {schema}: {match[0]}"


def main() -> int:
    """Checks everything; returns the exit code."""
    found: list[str] = []
    known = packages()
    services = {name for name, source in known.items() if source.parts[-4] == "services"}
    for name, source in known.items():
        for path in sorted(source.rglob("*.py")):
            found += broken_in(path, name, source)
            if name in services:
                found += foreign_schemas(path, name, services)
    for line in found:
        sys.stdout.write(line + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
