"""Images of projects' own, for previews: built beside the keeper's rounds, and told as the preview's log."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from runyard_events.catalogue import Method
from runyard_events.tasks import end_tasks
from runyard_orchestrator.adapters.preview_projects import project_of
from runyard_orchestrator.adapters.preview_specs import Made, builds_of
from runyard_orchestrator.domain.compose import NotServed, Project
from runyard_orchestrator.domain.preview import Preview
from runyard_orchestrator.store.previews import PreviewKey
from runyard_sandbox import SandboxFault
from runyard_sandbox.builds import Build, Builder, BuildFailed, Image

_SAID_LINES = 2000
Tell = Callable[[PreviewKey, Preview, AsyncIterator[str]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Building:
    generation: int
    project: Project
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

    async def ready(self, key: PreviewKey, preview: Preview) -> Made | None:
        """The images of the preview's present start; None: they are being built.

        Raises:
            BuildFailed: it cannot be.
            ProvisionFailed, EngineAway: the engine has no place for it, or does not answer.
        """
        builder = self._builders.get(preview.method)
        if builder is None:
            raise BuildFailed("It has to be built, and images are not built where it would run.")
        known = self._building.get(key)
        if known is not None and known.generation != preview.generation:
            await self.leave(key)
            known = None
        if known is not None and not known.task.done():
            return None
        if known is not None and (error := known.task.exception()) is not None:
            del self._building[key]
            raise error
        # What is run stays what it was when its images were begun, whatever becomes of the files meanwhile.
        project = known.project if known else await self._project(preview)
        orders, images = builds_of(key, preview, project), dict[str, Image]()
        for order in orders:
            if (image := await builder.built(key.preview_id, preview.generation, order.part)) is not None:
                images[order.part] = image
        if len(images) == len(orders):
            return Made(project, images)
        if known is not None:
            del self._building[key]
            raise BuildFailed("An image that was built is not there any more.")
        said = deque[str](maxlen=_SAID_LINES)
        missing = [order for order in orders if order.part not in images]
        task = asyncio.create_task(self._build(builder, key, preview, missing, said))
        task.add_done_callback(lambda _: self.ended(key))
        self._building[key] = _Building(preview.generation, project, task, said)
        return None

    def said(self, key: PreviewKey, lines: int) -> list[str]:
        """What the build under way has printed last."""
        known = self._building.get(key)
        return [] if known is None or known.task.done() else list(known.said)[-lines:]

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

    async def _project(self, preview: Preview) -> Project:
        try:
            return await project_of(preview)
        except NotServed as error:
            raise BuildFailed(str(error)) from None

    async def _build(
        self, builder: Builder, key: PreviewKey, preview: Preview, orders: Sequence[Build], said: deque[str]
    ) -> None:
        limit = asyncio.timeout(self._seconds)
        try:
            async with limit:
                for order in orders:
                    async with contextlib.aclosing(builder.build(order)) as lines:
                        await self._tell(key, preview, _kept(lines, said))
        except TimeoutError:
            if not limit.expired():
                raise
            raise BuildFailed(f"What it needs was not built within {self._seconds:.0f} s.") from None


async def _kept(lines: AsyncIterator[str], said: deque[str]) -> AsyncIterator[str]:
    async for line in lines:
        said.append(line)
        yield line
