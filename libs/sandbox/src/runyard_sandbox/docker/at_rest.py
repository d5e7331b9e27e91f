"""What was found out about containers that have ended: nothing of it changes until one is started again."""

from collections.abc import Sequence

from runyard_sandbox.docker.engine import Json
from runyard_sandbox.provisioner import Sandbox


class AtRest:
    """By the container's id and by how the engine's list says that it ended. Holds no more than the list does."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, Sandbox]] = {}

    def of(self, summary: Json) -> Sandbox | None:
        """What is known of one; None: look at it."""
        ended, found = self._known.get(str(summary["Id"]), ("", None))
        return found if found is not None and ended == _ended(summary) else None

    def learn(self, summary: Json, found: Sandbox) -> None:
        """What a look at one has shown."""
        if (ended := _ended(summary)) is not None and found.status == "stopped":
            self._known[found.native_id] = (ended, found)

    def forget(self, native_id: str) -> None:
        """It is started: it may come to the same end in another way."""
        self._known.pop(native_id, None)

    def keep_only(self, summaries: Sequence[Json]) -> None:
        """Of those that are gone nothing is kept."""
        there = {str(each["Id"]) for each in summaries}
        self._known = {native_id: known for native_id, known in self._known.items() if native_id in there}


def _ended(summary: Json) -> str | None:
    """`Exited (137)` of `Exited (137) 5 minutes ago`."""
    return str(summary.get("Status", "")).partition(")")[0] if summary["State"] == "exited" else None
