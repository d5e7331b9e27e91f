"""A bounded memory of what this process has done lately. Forgetting costs work, never correctness."""

from collections.abc import Iterable


class Recently:
    """The newest names, up to a number."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._names: dict[str, None] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def add(self, name: str) -> None:
        """Remembers a name, forgetting the oldest ones beyond the limit."""
        self._names[name] = None
        while len(self._names) > self._limit:
            del self._names[next(iter(self._names))]

    def update(self, names: Iterable[str]) -> None:
        """Remembers several."""
        for name in names:
            self.add(name)
