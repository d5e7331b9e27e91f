"""Keeps previews as they should be: after every change, and from time to time all of them.

One replica at a time does it (the one that reconciles). It remembers nothing that counts: what should be
follows from the log, what is from the engines. An engine that does not answer proves nothing.
"""

import asyncio
import time
import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog

from runyard_chassis import Problem
from runyard_events import EventError, LogUnavailable, derived_id
from runyard_events.catalogue import (
    Method,
    Payload,
    PreviewFailed,
    PreviewFailure,
    PreviewReady,
    PreviewStarting,
)
from runyard_events.database import DATABASE_FAULTS
from runyard_events.tasks import side_by_side
from runyard_orchestrator.adapters.leadership import Leadership
from runyard_orchestrator.adapters.ledger import Cause
from runyard_orchestrator.adapters.preview_boxes import PreviewBoxes, shown
from runyard_orchestrator.adapters.preview_files import NotPrepared, PreviewFiles
from runyard_orchestrator.adapters.preview_images import PreviewImages
from runyard_orchestrator.adapters.preview_pages import PreviewPages, is_free
from runyard_orchestrator.adapters.preview_specs import Made
from runyard_orchestrator.domain.preview import BUILT, SERVICE, Preview, again
from runyard_orchestrator.domain.preview_upkeep import (
    Append,
    Begin,
    Box,
    Clear,
    Fail,
    Look,
    Patience,
    Prepare,
    Provision,
    Remove,
    Step,
    age_ms,
    container_name,
    free_port,
    names_of,
    next_step,
)
from runyard_orchestrator.domain.rules import Installation, Rules, rules_of
from runyard_orchestrator.handlers.preview_census import PreviewCensus
from runyard_orchestrator.handlers.preview_desk import PreviewDesk
from runyard_orchestrator.handlers.preview_logs import PreviewLogs
from runyard_orchestrator.handlers.preview_stats import PreviewStats
from runyard_orchestrator.handlers.rounds import Rounds
from runyard_orchestrator.store.previews import PreviewKey
from runyard_sandbox import EngineAway, ProvisionFailed, SandboxFault
from runyard_sandbox.builds import BuildFailed

logger = structlog.get_logger(__name__)

_AT_ONCE = 1000
_MOST_STEPS = 40
_AGAIN_SECONDS = 1.0
_LEAST_SECONDS = 0.05
_LOOK_SECONDS = 0.3
_RETRY_SECONDS = 5.0
_ENGINE_SECONDS = 120.0
_LEFTOVERS = timedelta(days=1)
_NOWHERE = "Previews run in containers only here, and this team has none: they are off for it or altogether (SANDBOX)."
_AWAY = (LogUnavailable, *DATABASE_FAULTS)


@dataclass(slots=True)
class _Health:
    """When a preview's page was looked at last, and how often in a row it has not answered."""

    looked: float = 0.0
    misses: int = 0


@dataclass(slots=True, kw_only=True)
class Previews:
    """Looks after the previews of all teams."""

    desk: PreviewDesk
    boxes: PreviewBoxes
    images: PreviewImages
    files: PreviewFiles
    pages: PreviewPages
    logs: PreviewLogs
    stats: PreviewStats
    has_files: Callable[[str, Preview], Awaitable[bool]]
    installation: Installation
    leadership: Leadership
    patience: Patience
    every_seconds: float
    health_seconds: float
    _health: dict[PreviewKey, _Health] = field(default_factory=dict[PreviewKey, _Health])
    _hints: dict[PreviewKey, set[str]] = field(default_factory=dict[PreviewKey, set[str]])
    _names: dict[str, PreviewKey] = field(default_factory=dict[str, PreviewKey])
    _settled: set[PreviewKey] = field(default_factory=set[PreviewKey])
    """Those about which there was nothing left to do; with a box of theirs, or an event, they are looked at again."""
    _cleared: set[PreviewKey] = field(default_factory=set[PreviewKey])
    _begun: set[str] = field(default_factory=set[str])
    _ports: dict[PreviewKey, int] = field(default_factory=dict[PreviewKey, int])
    _choosing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _census: PreviewCensus = field(init=False)
    _rounds: Rounds[PreviewKey] = field(init=False)

    def __post_init__(self) -> None:
        self._rounds = Rounds[PreviewKey](self._safely)
        self._census = PreviewCensus(self.desk, self.boxes)
        self.images.ended = self.wake

    def wake(self, key: PreviewKey) -> None:
        """Something about this preview has changed: look at it."""
        self._settled.discard(key)
        self._rounds.wake(key)

    async def run(self) -> None:
        """Looks after them until cancelled."""
        try:
            listening = [self._listen(method) for method in self.boxes.methods]
            await side_by_side(self._pass_by(), self._rounds.run(), *listening)
        finally:
            await self.images.close()
            await self.stats.close()
            await self.logs.close()

    async def once(self) -> None:
        """One look at everything, if this process leads.

        Raises:
            LogUnavailable, one of DATABASE_FAULTS: something is away; nothing is concluded from what could not be seen.
        """
        if not await self.leadership.held():
            return
        owned = await self._census.take(await self.boxes.all())
        self._hints.update(owned)
        wanted = set(await self.desk.rows.to_be_looked_after(_AT_ONCE, datetime.now(UTC) - _LEFTOVERS))
        self._settled &= wanted
        for key in owned.keys() | (wanted - self._settled):
            self.wake(key)

    async def look_at(self, key: PreviewKey) -> None:
        """Takes one preview to where it should be, step by step."""
        if not await self.leadership.held():
            return
        for _ in range(_MOST_STEPS):
            preview = await self.desk.preview(key)
            if preview.status == "absent":
                return
            if preview.status != "starting":
                await self.images.leave(key)
            step = next_step(
                preview,
                await self._boxes_of(key, preview),
                has_files=await self.has_files(key.tenant_id, preview),
                cleared=key in self._cleared,
                now=datetime.now(UTC),
                patience=self.patience,
            )
            if step is None:
                if preview.found in BUILT:
                    await self.images.forget(key, preview)
                self._settled.add(key)
                return
            again = await self._take(key, preview, step)
            if again is not None:
                self._rounds.later(key, max(again, _LEAST_SECONDS))
                return

    async def _take(self, key: PreviewKey, preview: Preview, step: Step) -> float | None:
        """Takes a step; seconds after which to look again, None: at once."""
        try:
            match step:
                case Append(payload):
                    await self._say(key, preview, payload)
                case Prepare():
                    await self._prepare(key, preview)
                case Begin():
                    await self._begin(key, preview)
                case Provision():
                    return await self._provision(key, preview)
                case Look(box):
                    return await self._look(key, preview, box)
                case Fail(reason, message, exit_code):
                    await self._fail(key, preview, reason, message, exit_code)
                case Remove() | Clear() | None:
                    await self._tidy(key, preview, step)
        except NotPrepared as error:
            await self._fail(key, preview, error.reason, error.message)
        return None

    async def _tidy(self, key: PreviewKey, preview: Preview, step: Remove | Clear | None) -> None:
        for box in step.boxes if isinstance(step, Remove) else ():
            await self._remove(box)
        if isinstance(step, Clear):
            await self.files.remove(key, preview)
            self._cleared.add(key)

    async def _prepare(self, key: PreviewKey, preview: Preview) -> None:
        rules = await self._rules(key)
        method = self._where(rules)
        # The engine builds by its own runtime: where another one was chosen, nothing may run beside it.
        builds = self.images.can_build(method) and rules.runtime is None
        prepared = await self.files.prepare(key, preview, boxed=method != "process", builds=builds)
        await self._say(key, preview, prepared)

    async def _begin(self, key: PreviewKey, preview: Preview, method: Method | None = None) -> None:
        method = method or self._where(await self._rules(key))
        async with self._choosing:
            taken = await self.desk.rows.ports() | {port for other, port in self._ports.items() if other != key}
            port = await self._free_port(key, preview, taken, on_host=method == "process")
            if port is None:
                await self._fail(key, preview, "no_port", "All ports of previews (5000-8999) are taken.")
                return
            self._ports[key] = port
        generation = preview.generation + 1
        name = container_name(key.preview_id, generation)
        self._begun.add(name)
        starting = PreviewStarting(generation=generation, method=method, port=port, container_name=name)
        await self._say(key, preview, starting)

    async def _free_port(
        self, key: PreviewKey, preview: Preview, taken: frozenset[int], *, on_host: bool
    ) -> int | None:
        hint, wanted = zlib.crc32(key.preview_id.encode()), preview.port
        while (port := free_port(taken, wanted, hint)) is not None:
            if not on_host or await asyncio.to_thread(is_free, port):
                return port
            taken |= {port}
        return None

    async def _provision(self, key: PreviewKey, preview: Preview) -> float | None:
        self._health.pop(key, None)
        made: Made | None = None
        rules = await self._rules(key)
        try:
            if preview.found in BUILT and (made := await self.images.ready(key, preview)) is None:
                return _RETRY_SECONDS
            if service := await self.boxes.provision(key, preview, made, rules.runtime):
                return await self._wait_for(key, preview, service)
        except BuildFailed as error:
            await self._fail(key, preview, "build_failed", str(error), tail=shown(error.lines))
        except (ProvisionFailed, EngineAway) as error:
            may_fall_back = rules.process_fallback and "process" in self.boxes.methods
            if may_fall_back and preview.method != "process" and preview.found not in BUILT:
                logger.warning("preview.falls_back", preview_id=key.preview_id, error=str(error))
                await self._begin(key, preview, "process")
            elif isinstance(error, ProvisionFailed):
                await self._fail(key, preview, "create_failed", str(error))
            else:
                raise
        else:
            if made is not None:
                await self.images.forget(key, preview, keep=preview.generation)
            self._watch(key, preview)
        return None

    async def _wait_for(self, key: PreviewKey, preview: Preview, service: str) -> float | None:
        if age_ms(preview, datetime.now(UTC)) <= self.patience.start * 1000:
            return _AGAIN_SECONDS
        message = f"Its service {service}, which others wait for, was not up within {self.patience.start:.0f} s."
        await self._fail(key, preview, "unhealthy", message)
        return None

    def _watch(self, key: PreviewKey, preview: Preview) -> None:
        self.logs.attend(key, preview, begun=preview.container_name in self._begun)
        self._begun.discard(preview.container_name or "")
        self.stats.attend(key, preview)

    async def _look(self, key: PreviewKey, preview: Preview, box: Box) -> float | None:
        self._watch(key, preview)
        health = self._health.setdefault(key, _Health())
        if preview.status == "ready":
            wait = health.looked + (_RETRY_SECONDS if health.misses else self.health_seconds) - time.monotonic()
            if health.looked and wait > 0:
                return wait
        port = preview.port or 0
        found = await self.pages.answering(preview.address or box.address or f"127.0.0.1:{port}", port)
        health.looked, health.misses = time.monotonic(), 0 if found else health.misses + 1
        if preview.status == "starting":
            if found is None:
                return _LOOK_SECONDS
            took = age_ms(preview, datetime.now(UTC))
            await self._say(key, preview, PreviewReady(generation=preview.generation, address=found, took_ms=took))
            return self.health_seconds
        return await self._after_health(key, preview, health)

    async def _after_health(self, key: PreviewKey, preview: Preview, health: _Health) -> float | None:
        if health.misses >= self.patience.retries:
            await self._fail(key, preview, "unhealthy", "Its page does not answer any more.")
        elif health.misses:
            return _RETRY_SECONDS
        elif await self.files.has_moved(key, preview):
            await self._say(key, preview, again(preview, SERVICE))
        else:
            return self.health_seconds
        return None

    async def _fail(
        self,
        key: PreviewKey,
        preview: Preview,
        reason: PreviewFailure,
        message: str,
        exit_code: int | None = None,
        *,
        tail: tuple[str, ...] = (),
    ) -> None:
        if not tail and preview.status in ("starting", "ready"):
            tail = shown(line.text for line in await self.boxes.tail(preview))
        failed = PreviewFailed(
            generation=preview.generation, reason=reason, message=message, exit_code=exit_code, log_tail=tail
        )
        logger.info("preview.failed", preview_id=key.preview_id, reason=reason)
        await self._say(key, preview, failed)

    async def _say(self, key: PreviewKey, seen: Preview, payload: Payload) -> None:
        """Appends what follows from the preview as it was seen, unless it has changed since."""
        cause = Cause(derived_id("previews", key.tenant_id, key.preview_id, seen.stream_seq))
        await self.desk.decide(key, lambda preview: (payload,) if preview.stream_seq == seen.stream_seq else (), cause)

    async def _rules(self, key: PreviewKey) -> Rules:
        return rules_of(self.installation, await self.desk.rows.rules(key.tenant_id))

    def _where(self, rules: Rules) -> Method:
        """Where the next start of a preview goes, by its team's rules.

        Raises:
            NotPrepared: nowhere.
        """
        choices: tuple[Method, ...] = (self.installation.method, "process") if rules.enabled else ("process",)
        for method in choices:
            if method in self.boxes.methods:
                return method
        raise NotPrepared("create_failed", _NOWHERE)

    async def _boxes_of(self, key: PreviewKey, preview: Preview) -> Sequence[Box]:
        generations = {one for one in (preview.generation, preview.generation - 1) if one > 0}
        pages = [container_name(key.preview_id, one) for one in generations]
        names = {name for page in pages for name in names_of(preview, page)} | self._hints.pop(key, set())
        self._names.update(dict.fromkeys(names, key))
        found = await self.boxes.named(sorted(names))
        if preview.container is None:
            self._ports.pop(key, None)
            self._health.pop(key, None)
        # The same name may stand for two engines' boxes after a fallback: only the one of the right method is wanted.
        return [box for box in found if box.name != preview.container or box.method == preview.method]

    async def _remove(self, box: Box) -> None:
        await self.boxes.remove(box)
        self._names.pop(box.name, None)
        self._begun.discard(box.name)

    async def _pass_by(self) -> None:
        while True:
            try:
                await self.once()
            except (*_AWAY, EventError, SandboxFault) as error:
                logger.warning("previews.waiting", error=str(error) or type(error).__name__)
            await asyncio.sleep(self.every_seconds)

    async def _listen(self, method: Method) -> None:
        while True:
            try:
                async for name in self.boxes.changes(method):
                    if name in self._names:
                        self.wake(self._names[name])
            except SandboxFault as error:
                logger.info("previews.engine_away", method=method, error=str(error))
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _safely(self, key: PreviewKey) -> None:
        """One preview that cannot be seen to must not keep the others waiting."""
        try:
            try:
                await self.look_at(key)
            except EngineAway as error:
                await self._without_engine(key, error)
        except (*_AWAY, EventError, Problem, SandboxFault) as error:
            logger.warning("preview.postponed", preview_id=key.preview_id, error=str(error) or type(error).__name__)
            self._rounds.postpone(key)
        except Exception:
            logger.exception("preview.failed_to_be_seen_to", preview_id=key.preview_id)
            self._rounds.postpone(key)
        else:
            self._rounds.went_well(key)

    async def _without_engine(self, key: PreviewKey, error: EngineAway) -> None:
        preview = await self.desk.preview(key)
        if preview.status == "starting" and age_ms(preview, datetime.now(UTC)) > _ENGINE_SECONDS * 1000:
            await self._fail(key, preview, "engine_away", str(error))
        self._rounds.later(key, _AGAIN_SECONDS)
