"""Whether the container engine answers, as this process last saw it."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class EngineWatch:
    """Since when the engine has been away without a break."""

    clock: Callable[[], float] = time.monotonic
    why: str = ""
    """What it, or nobody, said last while it was away."""
    _since: float | None = None

    def answered(self) -> None:
        """It has answered."""
        self._since = None

    def away(self, why: str) -> None:
        """It has not."""
        self._since = self.clock() if self._since is None else self._since
        self.why = why

    @property
    def away_seconds(self) -> float:
        """How long it has been away; 0 while it answers."""
        return 0.0 if self._since is None else self.clock() - self._since

    @property
    def status(self) -> str:
        """In words, for whoever looks at the service."""
        return "ok" if self._since is None else f"away for {self.away_seconds:.0f} s"
