"""`runyard token`, `doctor`, `version` and `compose-config`."""

import asyncio
import os
import re
from datetime import timedelta
from importlib import metadata
from typing import Annotated

import typer

from runyard_stack.cli.screen import err, out, problems_explained
from runyard_stack.credentials import read_credentials
from runyard_stack.errors import StackError
from runyard_stack.layout import layout_from_environment
from runyard_stack.tokens import admin_token

UNITS = {"m": "minutes", "h": "hours", "d": "days"}
LONGEST = timedelta(days=366)


def token(
    *,
    expires: Annotated[str, typer.Option(help="How long it is valid: 30m, 24h, 7d.")] = "24h",
    team: Annotated[bool, typer.Option("--team", help="The id of the team that it is for, in its place.")] = False,
) -> None:
    """Print a token of the first admin, and nothing else."""
    with problems_explained():
        layout = layout_from_environment()
        credentials = read_credentials(layout.credentials)
        if credentials is None:
            raise StackError(f"{layout.home} has no credentials yet.", "They are made by the first `runyard up`.")
        typer.echo(credentials.tenant_id if team else admin_token(credentials, os.environ, lifetime(expires)))


def compose_config() -> None:
    """Write what compose.yaml needs into the data folder, and print the variables to call it with."""
    with problems_explained():
        from runyard_stack.compose import write_compose  # noqa: PLC0415 - it loads the services' settings

        for name, value in write_compose(layout_from_environment(), os.environ).items():
            typer.echo(f"{name}={value}")


def lifetime(text: str) -> timedelta:
    """A duration such as 30m, 24h or 7d.

    Raises:
        StackError: it is not one, or longer than a year.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", text)
    duration = timedelta(**{UNITS[match[2]]: int(match[1])}) if match else None
    if duration is None or duration > LONGEST:
        raise StackError(f"{text!r} is not a duration of at most a year.", "Write it as 30m, 24h or 7d.")
    return duration


def doctor() -> None:
    """Look at everything that a stack needs, and say what to do about what is missing. Exit code 0 or 1."""
    from runyard_stack.doctor import examine  # noqa: PLC0415 - the other commands do without

    with problems_explained():
        findings = asyncio.run(examine(layout_from_environment(), os.environ))
        for finding in findings:
            style = {"ok": "green", "warning": "yellow", "broken": "red"}[finding.state]
            out.print(f"[{style}]{finding.sign}[/] {finding.name:<14}", end="")
            out.print(finding.words, markup=False)
            if finding.remedy:
                out.print(f"  {'':<14}{finding.remedy}", style=style, markup=False)
        if any(finding.state == "broken" for finding in findings):
            raise typer.Exit(1)
        err.print("Everything that is needed is there.")


def version() -> None:
    """Print the version."""
    out.print(metadata.version("runyard-stack"))
