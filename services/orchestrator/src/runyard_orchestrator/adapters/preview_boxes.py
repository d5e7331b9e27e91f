"""Where previews run: the processes beside the services, and the containers of this installation if it has any."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path

import structlog

from runyard_events import Scope
from runyard_events.catalogue import Method
from runyard_orchestrator.adapters.way_out import WayOut
from runyard_orchestrator.domain.preview import Preview
from runyard_orchestrator.domain.preview_upkeep import Box, shell_command
from runyard_orchestrator.store.previews import PreviewKey
from runyard_sandbox import LogLine, Mount, NotThere, Provisioner, Sandbox, SandboxFault, Spec, Stats
from runyard_sandbox.builds import Image
from runyard_sandbox.provisioner import PREVIEW_LIMITS, NotSupported

logger = structlog.get_logger(__name__)

_ENDED = frozenset({"stopped", "error"})
_STARTS_AT_ONCE: frozenset[Method] = frozenset({"docker", "process"})
"""Engines whose boxes run when `provision` returns; on others they may be on their way for long."""
_TAIL_LINES = 60
_TAIL_WIDTH = 500
_TAIL_SECONDS = 10
_ENVIRONMENT = {
    "BROWSER": "none",
    "NO_COLOR": "1",
    "PYTHONUNBUFFERED": "1",
    "NEXT_TELEMETRY_DISABLED": "1",
    "ASTRO_TELEMETRY_DISABLED": "1",
    "NUXT_TELEMETRY_DISABLED": "1",
    "GATSBY_TELEMETRY_DISABLED": "1",
    "npm_config_update_notifier": "false",
    "npm_config_fund": "false",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}
"""Says to the usual tools: nobody watches, report to nobody."""


class PreviewBoxes:
    """The boxes of previews, whichever engine has them. `environment` is what they get by method besides."""

    def __init__(
        self,
        engines: Mapping[Method, Provisioner],
        environment: Mapping[Method, Mapping[str, str]],
        way_out: WayOut,
    ) -> None:
        self._engines = dict(engines)
        self._environment = environment
        self._way_out = way_out

    @property
    def methods(self) -> frozenset[Method]:
        """Where a preview can run."""
        return frozenset(self._engines)

    async def provision(self, key: PreviewKey, preview: Preview, image: Image | None = None) -> None:
        """Starts it, or finds it started. `image`: the one that was built of its own Dockerfile.

        Raises:
            ProvisionFailed, EngineAway: it cannot be had, or not now.
        """
        path, port = preview.path or "", _port(preview, image)
        in_box = preview.method != "process"
        env = {
            **_ENVIRONMENT,
            **(self._to_the_outside(key, preview) if in_box else {}),
            **self._environment.get(preview.method, {}),
            "PORT": str(port),
            "HOST": "0.0.0.0" if in_box else "127.0.0.1",  # noqa: S104 - its own network, with nobody else on it
        }
        await self._engines[preview.method].provision(
            Spec(
                name=preview.container_name or "",
                purpose="preview",
                tenant_id=key.tenant_id,
                owner_id=key.preview_id,
                epoch=preview.generation,
                image=image and image.native_id,
                command=None if image else shell_command(preview),
                env=env,
                mounts=_mounts(path) if in_box and image is None else (),
                working_directory=None if image else path,
                user=image and image.user,
                # Ordinary images write where they like; nothing of it outlives the container.
                read_only_root=image is None,
                limits=PREVIEW_LIMITS,
                ports=(port,),
            )
        )

    def _to_the_outside(self, key: PreviewKey, preview: Preview) -> Mapping[str, str]:
        scope = Scope.preview(key.tenant_id, key.preview_id)
        return self._way_out.environment(scope, preview.generation)

    async def named(self, names: Sequence[str]) -> list[Box]:
        """Those of these names that are there.

        Raises:
            EngineAway: an engine does not answer.
        """
        found: list[Box] = []
        for method, engine in self._engines.items():
            for name in sorted(set(names)):
                one = await engine.find(name)
                if one is not None:
                    found.append(_box(method, one))
        return found

    async def all(self) -> dict[PreviewKey, list[Box]]:
        """All boxes of previews by what they belong to, of those engines that answer."""
        found: dict[PreviewKey, list[Box]] = {}
        for method, engine in self._engines.items():
            try:
                listed = await engine.list()
            except SandboxFault as error:
                logger.warning("previews.engine_away", method=method, error=str(error))
                continue
            for one in listed:
                if one.purpose == "preview":
                    found.setdefault(PreviewKey(one.tenant_id, one.owner_id), []).append(_box(method, one))
        return found

    async def remove(self, box: Box) -> None:
        """Ends it and removes what was made for it."""
        engine = next(engine for method, engine in self._engines.items() if method == box.method)
        await engine.delete(box.name)

    async def tail(self, preview: Preview, lines: int = _TAIL_LINES) -> list[LogLine]:
        """The last lines that it printed, as far as they can be had."""
        engine, name = self._engines.get(preview.method), preview.container_name
        found: list[LogLine] = []
        if engine is None or name is None:
            return found
        with contextlib.suppress(SandboxFault, TimeoutError, OSError):
            async with asyncio.timeout(_TAIL_SECONDS):
                async for line in engine.logs(name, tail=lines):
                    found.append(line)  # noqa: PERF401 - what was read before a fault counts
        return found[-lines:]

    async def follow(self, preview: Preview, *, tail: int) -> AsyncIterator[str]:
        """The last lines that it printed and those to come, until it has ended."""
        engine, name = self._engines.get(preview.method), preview.container_name
        if engine is None or name is None:
            return
        try:
            async for line in engine.logs(name, follow=True, tail=tail):
                yield line.text
        except NotThere:
            return

    async def stats(self, preview: Preview) -> AsyncIterator[Stats]:
        """What it uses, about once a second, until it has ended; nothing where that cannot be known.

        Raises:
            EngineAway: the engine does not answer.
        """
        engine, name = self._engines.get(preview.method), preview.container_name
        if engine is None or name is None:
            return
        try:
            async for one in engine.stats(name):
                yield one
        except (NotThere, NotSupported):
            return

    async def changes(self, method: Method) -> AsyncIterator[str]:
        """The names of boxes that something happens to."""
        async for change in self._engines[method].changes():
            yield change.name


def _port(preview: Preview, image: Image | None) -> int:
    """Where its page is: on the only port that its image names, else on that which it is told."""
    return image.ports[0] if image is not None and len(image.ports) == 1 else preview.port or 0


def _mounts(path: str) -> tuple[Mount, ...]:
    """The files, and over themselves what they say of their repository: an agent's Git outside would believe that."""
    pointer = f"{path}/.git"
    files = Mount(Path(path), path)
    return (files, Mount(Path(pointer), pointer, read_only=True)) if Path(pointer).is_file() else (files,)


def shown(lines: Iterable[str]) -> tuple[str, ...]:
    """Lines as an event keeps them."""
    return tuple(line[:_TAIL_WIDTH] for line in lines)


def _box(method: Method, one: Sandbox) -> Box:
    return Box(
        name=one.name,
        method=method,
        epoch=one.epoch,
        running=one.status == "running",
        ended=one.status in _ENDED,
        half_made=one.status == "creating" and method in _STARTS_AT_ONCE,
        exit_code=one.exit_code,
        out_of_memory=one.out_of_memory,
        address=next(iter(one.addresses.values()), None),
    )
