"""How many sessions have a container before their first prompt."""

import asyncio
import time
from collections.abc import Callable, Sequence

from runyard_orchestrator.store.reading import SessionKey
from runyard_orchestrator.store.reading_sandboxes import SandboxRows

_SHOWN_SECONDS = 30.0
"""Within this the rows show a container that was granted, or it did not come to be."""


class WarmPool:
    """Grants containers to sessions that have not begun, as long as fewer than `size` of those have one."""

    def __init__(self, rows: SandboxRows, size: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rows = rows
        self._size = size
        self._clock = clock
        self._granted: dict[SessionKey, float] = {}
        self._one_at_a_time = asyncio.Lock()

    async def next_ones(self) -> Sequence[SessionKey]:
        """Sessions that may get one now that there may be room again."""
        return await self._rows.never_begun(self._size) if self._size else ()

    async def has_room(self, key: SessionKey) -> bool:
        """Whether this session gets one now; asked again it is told the same."""
        if not self._size:
            return False
        async with self._one_at_a_time:
            now = self._clock()
            for one, at in list(self._granted.items()):
                if now - at >= _SHOWN_SECONDS or (await self._rows.sandbox(one)).status != "absent":
                    del self._granted[one]
            if key in self._granted:
                return True
            warm = set(await self._rows.waiting_for_a_prompt(self._size)) | set(self._granted)
            if len(warm) >= self._size:
                return False
            self._granted[key] = now
            return True
