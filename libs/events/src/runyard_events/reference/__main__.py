"""Writes the reference into a folder, or with --check says whether what stands there is current."""

import argparse
import json
import sys
from pathlib import Path

from runyard_events.reference.asyncapi import asyncapi
from runyard_events.reference.json_schema import command_schema, event_schema
from runyard_events.reference.page import catalogue_page


def documents() -> dict[str, str]:
    """File names and their contents."""
    return {
        "events.schema.json": _json(event_schema()),
        "commands.schema.json": _json(command_schema()),
        "asyncapi.json": _json(asyncapi()),
        "events.md": catalogue_page(),
    }


def main() -> int:
    """Command line: FOLDER [--check]. Exit code 1 when a document is out of date."""
    parser = argparse.ArgumentParser(prog="python -m runyard_events.reference", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    stale = [name for name, text in documents().items() if _current(arguments.folder / name) != text]
    if arguments.check:
        for name in stale:
            sys.stderr.write(f"{arguments.folder / name} is out of date: run `make schemas`\n")
        return 1 if stale else 0
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name in stale:
        (arguments.folder / name).write_text(documents()[name])
    return 0


def _json(value: object) -> str:
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


def _current(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
