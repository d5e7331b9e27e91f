"""One stream for many."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from runyard_sandbox.docker.sharing import Shared


class Source:
    """Gives what it is told to."""

    def __init__(self) -> None:
        self.opened = 0
        self.closed = 0
        self.items: asyncio.Queue[int | Exception | None] = asyncio.Queue()

    async def __call__(self) -> AsyncGenerator[int]:
        self.opened += 1
        try:
            while (item := await self.items.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.closed += 1


async def test_many_listeners_share_one_stream_until_the_last_has_gone() -> None:
    shared, source = Shared[int](), Source()
    first, second = shared.follow("a", source), shared.follow("a", source)
    waiting = [asyncio.ensure_future(anext(each)) for each in (first, second)]
    await asyncio.sleep(0)
    source.items.put_nowait(1)
    assert await asyncio.gather(*waiting) == [1, 1]
    await first.aclose()
    source.items.put_nowait(2)
    assert await anext(second) == 2
    assert (source.opened, source.closed) == (1, 0)
    await second.aclose()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert source.closed == 1


async def test_the_end_and_what_went_wrong_reach_everybody() -> None:
    shared, source = Shared[int](), Source()
    waiting = [asyncio.ensure_future(anext(shared.follow("a", source), None)) for _ in range(2)]
    await asyncio.sleep(0)
    source.items.put_nowait(None)
    assert await asyncio.gather(*waiting) == [None, None]
    failing = asyncio.ensure_future(anext(shared.follow("a", source)))
    source.items.put_nowait(OSError("broken"))
    with pytest.raises(OSError, match="broken"):
        await failing
    assert source.opened == 2


async def test_who_is_slow_gets_the_newest() -> None:
    shared, source = Shared[int](), Source()
    slow = shared.follow("a", source)
    first = asyncio.ensure_future(anext(slow))
    for number in range(5):
        source.items.put_nowait(number)
    await first
    source.items.put_nowait(None)
    rest = [item async for item in slow]
    assert rest in ([4], [])
