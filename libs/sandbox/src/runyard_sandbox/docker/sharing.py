"""One stream of the engine for all who want the same: the engine measures once, not once for each."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """Streams by name. Each lasts for as long as anybody listens; who is slow gets the newest only."""

    def __init__(self) -> None:
        self._channels: dict[str, _Channel[T]] = {}

    async def follow(self, name: str, source: Callable[[], AsyncGenerator[T]]) -> AsyncGenerator[T]:
        """What the source gives, opened only where nobody listens yet; what it raises is raised here."""
        channel = self._channels.get(name)
        if channel is None or channel.has_ended:
            channel = self._channels[name] = _Channel(source)
        listener = channel.enter()
        try:
            while (item := await listener.get()) is not None:
                yield item
        finally:
            if channel.leave(listener) and self._channels.get(name) is channel:
                del self._channels[name]


class _Newest(Generic[T]):
    """Holds one item for one listener."""

    def __init__(self) -> None:
        self._item: T | None = None
        self._over: BaseException | bool = False
        self._there = asyncio.Event()

    def put(self, item: T) -> None:
        self._item = item
        self._there.set()

    def end(self, error: BaseException | None) -> None:
        self._over = error or True
        self._there.set()

    async def get(self) -> T | None:
        """The newest; None at the end."""
        await self._there.wait()
        item, self._item = self._item, None
        if item is None and isinstance(self._over, BaseException):
            raise self._over
        if not self._over:
            self._there.clear()
        return item


class _Channel(Generic[T]):
    def __init__(self, source: Callable[[], AsyncGenerator[T]]) -> None:
        self._listeners: set[_Newest[T]] = set()
        self._task = asyncio.ensure_future(self._run(source))

    @property
    def has_ended(self) -> bool:
        return self._task.done()

    def enter(self) -> _Newest[T]:
        listener = _Newest[T]()
        self._listeners.add(listener)
        return listener

    def leave(self, listener: _Newest[T]) -> bool:
        """Whether that was the last one."""
        self._listeners.discard(listener)
        if not self._listeners:
            self._task.cancel()
        return not self._listeners

    async def _run(self, source: Callable[[], AsyncGenerator[T]]) -> None:
        error: BaseException | None = None
        try:
            async with aclosing(source()) as items:
                async for item in items:
                    for listener in self._listeners:
                        listener.put(item)
        except Exception as caught:  # noqa: BLE001 (it is raised where somebody listens)
            error = caught
        finally:
            for listener in self._listeners:
                listener.end(error)
