"""Reading one's own writes: rows are shown when the projection has reached the sequence that is asked for."""

import asyncio

from runyard_chassis.problems import Invalid, Unavailable
from runyard_events.projector import Projector
from runyard_gateway.streaming.extent import LogExtent
from runyard_gateway.streaming.hub import Hub


class Consistency:
    """Waits for the projections."""

    def __init__(
        self,
        *,
        state: Projector,
        archive: Projector,
        hub: Hub,
        extent: LogExtent,
        timeout_seconds: float,
        patience_seconds: float,
    ) -> None:
        self._state = state
        self._archive = archive
        self._hub = hub
        self._extent = extent
        self._timeout = timeout_seconds
        self._patience = patience_seconds

    @property
    def caught_up(self) -> bool:
        """Whether the rows have reached the end of the log since the start."""
        return self._state.caught_up.is_set() and self._hub.live.is_set()

    async def begun(self) -> None:
        """Waits for as long as the rows are those of before the start."""
        await self._state.caught_up.wait()

    async def shows(self, seq: int) -> None:
        """Waits for the rows of an event that the state projection reads.

        Raises:
            Unavailable: it takes too long.
        """
        if not await self._state.reached(seq, timeout=self._timeout):
            raise Unavailable("It is done, but not readable here yet.", type="projection-behind", seq=seq).with_headers(
                Retry_After="1"
            )

    async def shows_told(self) -> None:
        """Waits for the rows of what streams here have told, a little: then they are read as they are."""
        await self._state.reached(self._hub.last_of_state, timeout=self._patience)

    async def shows_all(self, seq: int) -> None:
        """Waits for the rows of everything up to a sequence that a client has seen, of whatever family.

        Raises:
            Invalid: the log has no such sequence.
            Unavailable: it takes too long.
        """
        if seq > self._hub.position and seq > (await self._extent.now(reaching=seq)).last:
            raise Invalid("The log has no such sequence yet.", type="unknown-sequence")
        if not await self._hub.reached(seq, seconds=self._timeout):
            raise Unavailable("The log is not read up to there yet.", type="projection-behind", seq=seq)
        await self._caught_up(self._state)
        await self.shows(self._hub.last_of_state)

    async def _caught_up(self, projector: Projector) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await projector.caught_up.wait()
        except TimeoutError:
            raise Unavailable("The projection is being rebuilt.", type="projection-behind") from None

    async def shows_transcript(self) -> None:
        """Waits until the archive has what the log has now.

        Raises:
            Unavailable: it takes too long.
        """
        await self._hub.reached(self._state.position, seconds=self._timeout)
        # Of what was appended before it began the hub knows nothing.
        await self._caught_up(self._archive)
        if not await self._archive.reached(self._hub.last_of_run, timeout=self._timeout):
            raise Unavailable("The archive is behind.", type="projection-behind")
