"""A developer's command for a service's migrations: `DATABASE_URL=... python -m runyard_chassis.migrate --help`."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from sqlalchemy import MetaData

from runyard_chassis import migrations
from runyard_chassis.database import async_url


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; 1 when `check` finds a difference."""
    options = _parser().parse_args(arguments)
    address = os.environ.get("DATABASE_URL")
    if not address:
        sys.exit("DATABASE_URL is not set: which database?")
    url = async_url(address)
    schema = options.schema or options.package.removeprefix("runyard_")
    match options.action:
        case "upgrade":
            asyncio.run(migrations.upgrade(url, schema, options.package, options.revision))
        case "downgrade":
            asyncio.run(migrations.downgrade(url, schema, options.package, options.revision))
        case "new":
            models = _metadata(options.models)
            print(  # noqa: T201
                asyncio.run(migrations.autogenerate(url, schema, options.package, models, options.message))
            )
        case _:
            differences = asyncio.run(migrations.drift(url, schema, options.package, _metadata(options.models)))
            for one in differences:
                print(one)  # noqa: T201
            return 1 if differences else 0
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m runyard_chassis.migrate", description=__doc__)
    parser.add_argument("package", help="the service's package, e.g. runyard_gateway")
    parser.add_argument("--schema", help="its schema; without it the package's name less runyard_")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("upgrade", help="apply migrations").add_argument("revision", nargs="?", default="head")
    actions.add_parser("downgrade", help="take migrations back: -1, base, a revision").add_argument("revision")
    new = actions.add_parser("new", help="write the next migration from what the models have changed")
    new.add_argument("message")
    check = actions.add_parser("check", help="is the migrated schema what the models say?")
    for action in (new, check):
        action.add_argument("--models", required=True, help="module with `metadata`, e.g. runyard_x.store.tables")
    return parser


def _metadata(module: str) -> MetaData:
    metadata = getattr(import_module(module), "metadata", None)
    if not isinstance(metadata, MetaData):
        sys.exit(f"{module} has no SQLAlchemy MetaData named `metadata`")
    return metadata


if __name__ == "__main__":
    sys.exit(main())
