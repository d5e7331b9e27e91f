"""How many connections there may be at once, of all and of each."""

from collections import Counter
from collections.abc import Callable


class Bounds:
    """Counts connections by their peer."""

    def __init__(self, most: int, most_each: int) -> None:
        self._most = most
        self._most_each = most_each
        self._open: Counter[str] = Counter()

    def enter(self, peer: str) -> Callable[[], None] | None:
        """What to call when the connection ends; None: there are too many, it is not taken."""
        if self._open.total() >= self._most or self._open[peer] >= self._most_each:
            return None
        self._open[peer] += 1

        def leave() -> None:
            self._open[peer] -= 1
            if not self._open[peer]:
                del self._open[peer]

        return leave
