"""Claude as an agent of the run loop."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from runyard_runner.adapter import AgentStart

if TYPE_CHECKING:
    from runyard_runner_claude.adapters.turn import ClaudeTurn


class ClaudeAgent:
    """Starts a Claude process per turn. `folder` is the runner's agents folder, with the sessions' homes.

    The SDK brings MCP and a web server's worth of modules (0.5 s, 20 MB beside a running service), so it
    is imported at the first turn, off the event loop, and not at all where no Claude run ever comes.
    """

    name = "claude"

    def __init__(self, folder: Path, *, model: str | None = None, retries: int = 6) -> None:
        self._folder = folder
        self._model = model
        self._retries = retries
        self._turns: set[ClaudeTurn] = set()

    async def start(self, start: AgentStart) -> "ClaudeTurn":
        """Start a turn. Raises AgentFailed."""
        kind = await asyncio.to_thread(_turn_kind)
        # The session's last run has ended, but its process may still be writing the transcript to resume.
        await asyncio.gather(*(turn.gone() for turn in self._turns if turn.session_id == start.session_id))
        turn = kind(
            start,
            folder=self._folder,
            model=self._model,
            retries=self._retries,
            on_close=lambda: self._turns.discard(turn),
        )
        self._turns.add(turn)
        await turn.open()
        return turn

    async def close(self) -> None:
        """End every process that was started."""
        await asyncio.gather(*(turn.close(kill=True) for turn in list(self._turns)), return_exceptions=True)


def _turn_kind() -> "type[ClaudeTurn]":
    from runyard_runner_claude.adapters.turn import ClaudeTurn  # noqa: PLC0415 - heavy, see ClaudeAgent

    return ClaudeTurn
