"""The two ends of the terminal: answers on standard output, everything said beside them on standard error."""

import sys
from collections.abc import Generator
from contextlib import contextmanager

import typer
from rich.console import Console

from runyard_stack.errors import StackError

out = Console(highlight=False, soft_wrap=True)
err = Console(file=sys.stderr, highlight=False, soft_wrap=True)


@contextmanager
def problems_explained() -> Generator[None]:
    """A `StackError` ends the command with its message, its remedy and exit code 1."""
    try:
        yield
    except StackError as error:
        err.print(f"✗ {error.message}", style="red", markup=False)
        if error.remedy:
            err.print(f"  {error.remedy}", markup=False)
        raise typer.Exit(1) from error
