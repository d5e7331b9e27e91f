"""What a person sees while the stack starts, runs and stops."""

import sys
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.status import Status


class Progress(Protocol):
    """Where the supervisor reports to."""

    def note(self, text: str) -> None:
        """Something worth knowing."""
        ...

    def warn(self, text: str) -> None:
        """Something that went wrong and is being dealt with."""
        ...

    def step(self, text: str, server: str = "") -> AbstractContextManager[None]:
        """A step that takes time; shown while it lasts."""
        ...


class ConsoleProgress:
    """One line for each step that is done; while it lasts, and on a terminal, what is being done."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self._under_way: list[str] = []
        self._status: Status | None = None

    def note(self, text: str) -> None:
        """Print a plain line."""
        self.console.print(f"  {text}", markup=False)

    def warn(self, text: str) -> None:
        """Print a line that catches the eye."""
        self.console.print(f"! {text}", style="yellow", markup=False)

    @contextmanager
    def step(self, text: str, server: str = "") -> Generator[None]:
        """Print the step when it is done, with its time and the address of what it started."""
        began = time.monotonic()
        self._under_way.append(text)
        if not self.console.is_terminal:
            self.console.print(f"  {text} ...", markup=False)
        self._show()
        try:
            yield
        finally:
            self._under_way.remove(text)
            self._show()
        where = f"  {server}" if server else ""
        self.console.print(f"✓ {text}{where}  [dim]{time.monotonic() - began:.1f} s[/]")

    def _show(self) -> None:
        """Keep one spinner for all steps under way."""
        words = ", ".join(self._under_way)
        if not self.console.is_terminal:
            return
        if self._status is None:
            self._status = self.console.status("")
        if words:
            self._status.update(f"{words} ...")
            self._status.start()
        else:
            self._status.stop()
