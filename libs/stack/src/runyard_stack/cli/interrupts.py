"""Ctrl-C while a run is watched: the first asks the run to stop, the second leaves it alone."""

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """Turns SIGINT into a call; while a question is open it interrupts the question as usual."""

    def __init__(self, ask_to_stop: Callable[[], None]) -> None:
        self._ask_to_stop = ask_to_stop
        self._answering = False
        self.asked = False

    @contextmanager
    def caught(self) -> Generator[None]:
        """SIGINT is ours inside."""
        before = signal.signal(signal.SIGINT, self._on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    @contextmanager
    def answering(self) -> Generator[None]:
        """A question to the person is open inside."""
        self._answering = True
        try:
            yield
        finally:
            self._answering = False

    def stop(self) -> None:
        """Ask once, without holding up the transcript."""
        if not self.asked:
            self.asked = True
            threading.Thread(target=self._ask_to_stop, daemon=True).start()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked or self._answering:
            raise KeyboardInterrupt
        self.stop()
