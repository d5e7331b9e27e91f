"""Where previews run: the processes beside the services, and the containers of this installation if it has any."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from runyard_events import Scope
from runyard_events.catalogue import Method
from runyard_events.tasks import merged
from runyard_orchestrator.adapters.preview_specs import Made, specs_of
from runyard_orchestrator.adapters.way_out import WayOut
from runyard_orchestrator.domain.compose import Condition
from runyard_orchestrator.domain.preview import Preview
from runyard_orchestrator.domain.preview_upkeep import Box, names_of, page_of
from runyard_orchestrator.store.previews import PreviewKey
from runyard_sandbox import LogLine, NotThere, Provisioner, ProvisionFailed, Sandbox, SandboxFault, Stats
from runyard_sandbox.provisioner import NotSupported

logger = structlog.get_logger(__name__)

_ENDED = frozenset({"stopped", "error"})
_STARTS_AT_ONCE: frozenset[Method] = frozenset({"docker", "process"})
"""Engines whose boxes run when `provision` returns; on others they may be on their way for long."""
_TAIL_LINES = 60
_TAIL_WIDTH = 500
_TAIL_SECONDS = 10
_EARLIEST = datetime.min.replace(tzinfo=UTC)


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

    async def provision(
        self, key: PreviewKey, preview: Preview, made: Made | None = None, runtime: str | None = None
    ) -> str | None:
        """Starts it, or finds it started; the service, if any, that has to come up before the next can be started.

        `made`: what is run in images of its own. `runtime`: of its containers, as the team's rules have it.

        Raises:
            ProvisionFailed, EngineAway: it cannot be had, or not now.
        """
        if (engine := self._engines.get(preview.method)) is None:
            raise ProvisionFailed(f"this installation has no previews by the method {preview.method} any more")
        there = dict[str, Sandbox]()
        told = self._environment.get(preview.method, {})
        if preview.method != "process":
            told = {**self._to_the_outside(key, preview), **told}
        for service, spec in specs_of(key, preview, made, told):
            for needed, condition in service.needs.items() if service else ():
                if not _holds(condition, there[needed]):
                    return needed
            one = await engine.provision(replace(spec, runtime=runtime))
            if service:
                there[service.name] = one
        return None

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
        engine, page = self._engines.get(preview.method), preview.container_name
        found: list[LogLine] = []
        if engine is None or page is None:
            return found
        names = names_of(preview, page)
        for name in names:
            with contextlib.suppress(SandboxFault, TimeoutError, OSError):
                async with asyncio.timeout(_TAIL_SECONDS):
                    beside = await engine.find(name) if name != page else None
                    said = _said_by(beside) if beside else ""
                    async for line in engine.logs(name, tail=lines):
                        found.append(replace(line, text=f"{said}{line.text}"))  # noqa: PERF401 - what was read counts
        if len(names) > 1:
            found.sort(key=lambda line: line.at or _EARLIEST)
        return found[-lines:]

    async def follow(self, preview: Preview, *, tail: int) -> AsyncIterator[str]:
        """The last lines that all of it printed and those to come, until the last has ended."""
        engine, page = self._engines.get(preview.method), preview.container_name
        if engine is None or page is None:
            return
        services = {page: ""}
        for name in names_of(preview, page)[:-1]:
            if (beside := await engine.find(name)) is not None:
                services[name] = _said_by(beside)
        async with aclosing(merged(_printed(engine, name, said, tail) for name, said in services.items())) as lines:
            async for line in lines:
                yield line

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


def _said_by(beside: Sandbox) -> str:
    """What stands before a line of a service that the page needs."""
    return f"{beside.alias} | "


async def _printed(engine: Provisioner, name: str, said: str, tail: int) -> AsyncIterator[str]:
    try:
        async for line in engine.logs(name, follow=True, tail=tail):
            yield f"{said}{line.text}"
    except NotThere:
        return


def _holds(condition: Condition, one: Sandbox) -> bool:
    """Whether what has to be so of a service before another is started."""
    match condition:
        case "service_started":
            return True
        case "service_healthy":
            return one.healthy is True
        case "service_completed_successfully":
            return one.status == "stopped" and one.exit_code == 0


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
        service=one.alias if page_of(one.name) else None,
    )
