"""Images of previews whose project is a Dockerfile: built beside the keeper's rounds, and told as the preview's log."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from runyard_events.catalogue import Method
from runyard_events.tasks import end_tasks
from runyard_orchestrator.domain.preview import Preview
from runyard_orchestrator.store.previews import PreviewKey
from runyard_sandbox import SandboxFault
from runyard_sandbox.builds import Build, Builder, BuildFailed, Image

_SAID_LINES = 2000
Tell = Callable[[PreviewKey, Preview, AsyncIterator[str]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Building:
    generation: int
    task: asyncio.Task[None]
    said: deque[str]


class PreviewImages:
    """Builds at most one image of each preview at a time. A build that this process began ends with it."""

    def __init__(self, builders: Mapping[Method, Builder], tell: Tell, *, seconds: float) -> None:
        self._builders = dict(builders)
        self._tell = tell
        self._seconds = seconds
        self._building: dict[PreviewKey, _Building] = {}
        self.ended: Callable[[PreviewKey], None] = lambda _: None
        """Told of each preview whose build has ended, one way or the other."""

    def can_build(self, method: Method) -> bool:
        """Whether images can be built where previews of this method run."""
        return method in self._builders

    async def ready(self, key: PreviewKey, preview: Preview) -> Image | None:
        """The image of the preview's present start; None: it is being built.

        Raises:
            BuildFailed: it cannot be.
            ProvisionFailed, EngineAway: the engine has no place for it, or does not answer.
        """
        builder = self._builders.get(preview.method)
        if builder is None:
            raise BuildFailed("It is a Dockerfile, and images are not built where it would run.")
        known = self._building.get(key)
        if known is not None and known.generation != preview.generation:
            await self.leave(key)
            known = None
        if known is not None and not known.task.done():
            return None
        if known is not None:
            del self._building[key]
            known.task.result()
        if (image := await builder.built(key.preview_id, preview.generation)) is not None:
            return image
        if known is not None:
            raise BuildFailed("The image that was built is not there any more.")
        said = deque[str](maxlen=_SAID_LINES)
        task = asyncio.create_task(self._build(builder, key, preview, said))
        task.add_done_callback(lambda _: self.ended(key))
        self._building[key] = _Building(preview.generation, task, said)
        return None

    def said(self, key: PreviewKey, lines: int) -> list[str]:
        """What the build under way has printed last."""
        known = self._building.get(key)
        return [] if known is None else list(known.said)[-lines:]

    async def leave(self, key: PreviewKey) -> None:
        """Ends the build that is under way, if any."""
        if (known := self._building.pop(key, None)) is not None:
            await end_tasks(known.task)

    async def forget(self, key: PreviewKey, preview: Preview, *, keep: int | None = None) -> None:
        """Removes the preview's images, except that of the start to keep; what cannot be is reaped later."""
        builder = self._builders.get(preview.method)
        if builder is not None:
            with contextlib.suppress(SandboxFault):
                await builder.forget(key.preview_id, keep=keep)

    async def close(self) -> None:
        """Ends all builds."""
        await end_tasks(*(one.task for one in self._building.values()))

    async def _build(self, builder: Builder, key: PreviewKey, preview: Preview, said: deque[str]) -> None:
        order = Build(
            folder=Path(preview.path or ""),
            tenant_id=key.tenant_id,
            owner_id=key.preview_id,
            epoch=preview.generation,
        )
        limit = asyncio.timeout(self._seconds)
        try:
            async with limit, contextlib.aclosing(builder.build(order)) as lines:
                await self._tell(key, preview, _kept(lines, said))
        except TimeoutError:
            if not limit.expired():
                raise
            raise BuildFailed(f"Its image was not built within {self._seconds:.0f} s.") from None


async def _kept(lines: AsyncIterator[str], said: deque[str]) -> AsyncIterator[str]:
    async for line in lines:
        said.append(line)
        yield line
