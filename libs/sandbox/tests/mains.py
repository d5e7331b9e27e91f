"""What runs in the containers of a platform that is not there."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

Main = Callable[[str, Mapping[str, str]], Awaitable[None]]


class Mains:
    """`main` of each container, with its name and environment, for as long as it is up."""

    def __init__(self) -> None:
        self.main: Main | None = None
        self.begun: list[tuple[str, Mapping[str, str]]] = []
        self._running: dict[str, asyncio.Future[None]] = {}

    def up(self, name: str, env: Mapping[str, str]) -> None:
        if name in self._running:
            return
        self.begun.append((name, env))
        if self.main is not None:
            self._running[name] = asyncio.ensure_future(self.main(name, env))

    def down(self, name: str) -> None:
        if (process := self._running.pop(name, None)) is not None:
            process.cancel()

    async def close(self) -> None:
        running = list(self._running.values())
        for name in list(self._running):
            self.down(name)
        await asyncio.gather(*running, return_exceptions=True)
