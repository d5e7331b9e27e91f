"""Images of projects' own Dockerfiles, built by the engine on a network of ours.

They have no names, only labels, and nothing is built of images without a name (`ancestry`). A step of a build
runs as whom the Dockerfile says, root at first, with the engine's default capabilities; what holds it is the
network, on which there is nothing but the proxy, and the limits.
"""

import asyncio
import contextlib
import json
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import IO, Final

import structlog

from runyard_sandbox.builds import Build, BuildFailed, Image
from runyard_sandbox.docker.ancestry import of_named_images
from runyard_sandbox.docker.context import pack
from runyard_sandbox.docker.engine import Engine, Json, Refused, labelled, part
from runyard_sandbox.docker.labels import EPOCH, IMAGE, OURS, OWNER, PART, SANDBOX, TENANT, epoch_of, of_kind
from runyard_sandbox.docker.settings import EGRESS_PORT
from runyard_sandbox.docker.streams import Streams
from runyard_sandbox.docker.subnets import Slot
from runyard_sandbox.docker.surroundings import Surroundings
from runyard_sandbox.provisioner import PROXY_NAME

_PERIOD: Final = 100_000
_CHUNK = 256 * 1024
_WIDTH = 2000
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""The engine paints what a step prints to its standard error."""
_LAST_LINES = 60
_CLEAR_SECONDS = 20
_LONGEST_NUMBER = 10
"""Of a user, in digits."""
_CLOCKS = timedelta(seconds=2)
_log = structlog.get_logger()


class Images:
    """Of one installation, on one engine."""

    def __init__(self, engine: Engine, streams: Streams, installation: str, around: Surroundings) -> None:
        self._engine = engine
        self._streams = streams
        self._kind = of_kind(installation, IMAGE)
        self._sandboxes = labelled(of_kind(installation, SANDBOX))
        self._around = around
        self._fresh: set[tuple[str, int]] = set()
        """Being built, or built and not yet a container's."""

    async def build(self, order: Build) -> AsyncGenerator[str]:
        """What the build prints; closing it early ends the build.

        Raises:
            BuildFailed, ProvisionFailed, EngineAway.
        """
        context, dockerfile = await asyncio.to_thread(pack, order)
        self._fresh.add((order.owner_id, order.epoch))
        began, seen, last = datetime.now(UTC) - _CLOCKS, dict[str, None](), deque[str](maxlen=_LAST_LINES)
        is_built = False
        try:
            async with self._around.lent(order.tenant_id, order.owner_id, order.epoch) as slot:
                told = self._streams.build(self._arguments(order, dockerfile, slot), _chunks(context))
                async with contextlib.aclosing(told) as steps:
                    async for line in _lines(of_named_images(steps, self._engine), seen):
                        last.append(line)
                        yield line
            is_built = True
        except BuildFailed as error:
            raise BuildFailed(str(error), tuple(last)) from None
        except Refused as error:
            raise BuildFailed(f"The engine does not build it: {error}", tuple(last)) from None
        finally:
            context.close()
            if not is_built:
                self._fresh.discard((order.owner_id, order.epoch))
                await self._clear(list(seen), began)

    async def built(self, owner_id: str, epoch: int, of: str = "") -> Image | None:
        """The newest image of this start, or of one part of it.

        Raises:
            BuildFailed: it carries labels that are ours to give.
        """
        labels = self._kind | {OWNER: owner_id, EPOCH: str(epoch), PART: of}
        found = sorted(await self._engine.images(labelled(labels)), key=lambda one: int(one["Created"]))
        if not found or (data := await self._engine.inspect_image(str(found[-1]["Id"]))) is None:
            return None
        config = part(data, "Config")
        foreign = [key for key in part(config, "Labels") if key.startswith(OURS) and key not in {*labels, TENANT}]
        if foreign:
            # A container has its image's labels too, and by its labels it is known.
            raise BuildFailed(f"The image has labels that only Runyard gives: {', '.join(sorted(foreign))[:200]}.")
        return Image(
            str(data["Id"]),
            user_named(str(config.get("User") or "")),
            _ports(part(config, "ExposedPorts")),
            entrypoint=tuple(config.get("Entrypoint") or ()),
            command=tuple(config.get("Cmd") or ()),
        )

    async def forget(self, owner_id: str, *, keep: int | None = None) -> None:
        """Removes an owner's images; those that a container still has stay for the next time."""
        for one in await self._engine.images(labelled(self._kind | {OWNER: owner_id})):
            if (epoch := epoch_of(part(one, "Labels"))) != keep:
                self._fresh.discard((owner_id, epoch))
                await self.remove(str(one["Id"]))
        if keep is not None:
            self._fresh.discard((owner_id, keep))

    async def strays(self) -> list[str]:
        """Those of which there is no container, nor about to be one."""
        images = await self._engine.images(labelled(self._kind))
        if not images:
            return []
        used = {str(each["ImageID"]) for each in await self._engine.containers(self._sandboxes)}
        owned = {str(one["Id"]): part(one, "Labels") for one in images}
        return [
            image
            for image, labels in owned.items()
            if image not in used and (labels.get(OWNER, ""), epoch_of(labels)) not in self._fresh
        ]

    async def remove(self, image: str) -> bool:
        """Whether it, and what it alone was made of, is gone."""
        try:
            await self._engine.remove_image(image)
        except Refused as error:
            if not error.is_missing:
                _log.info("sandbox.image_stays", image=image, reason=str(error))
                return False
        return True

    async def _clear(self, seen: list[str], began: datetime) -> None:
        """What a build that came to nothing has made so far has no label yet. What was there before stays."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_CLEAR_SECONDS):
                for name in reversed(seen):
                    data = await self._engine.inspect_image(name)
                    if data is None or data.get("RepoTags") or data.get("RepoDigests"):
                        continue
                    if datetime.fromisoformat(str(data["Created"])[:19] + "+00:00") >= began:
                        await self.remove(name)

    def _arguments(self, order: Build, dockerfile: str, slot: Slot) -> dict[str, str]:
        proxy, direct = f"http://{slot.proxy}:{EGRESS_PORT}", f"{PROXY_NAME},{slot.proxy},localhost,127.0.0.1,::1"
        names = {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "NO_PROXY": direct}
        memory = str(order.limits.memory_bytes)
        labels = self._kind | {
            TENANT: order.tenant_id,
            OWNER: order.owner_id,
            EPOCH: str(order.epoch),
            PART: order.part,
        }
        return {
            "version": "1",
            "dockerfile": dockerfile,
            "rm": "1",
            "forcerm": "1",
            "networkmode": slot.network,
            "extrahosts": f"{PROXY_NAME}:{slot.proxy}",
            "memory": memory,
            "memswap": memory,
            "cpuperiod": str(_PERIOD),
            "cpuquota": str(round(order.limits.cpus * _PERIOD)),
            # Predefined arguments: they are neither kept in the image nor asked for when a step is found again.
            "buildargs": json.dumps({**order.arguments, **names, **{name.lower(): names[name] for name in names}}),
            "labels": json.dumps(labels),
            **({} if order.target is None else {"target": order.target}),
        }


async def _chunks(file: IO[bytes]) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(file.read, _CHUNK):
        yield chunk


async def _lines(steps: AsyncIterator[Json], seen: dict[str, None]) -> AsyncIterator[str]:
    """The engine's progress as lines; notes the images that it names."""
    held = ""
    async for step in steps:
        if (error := step.get("error")) is not None:
            if held:
                yield held[:_WIDTH]
            raise BuildFailed(str(error)[:_WIDTH])
        text = step.get("stream")
        if text is None:
            status = step.get("status")
            text = f"{status}\n" if status and not step.get("progressDetail") else ""
        *whole, held = (held + _COLOURS.sub("", str(text))).split("\n")
        held = held[-_WIDTH:]
        for line in whole:
            words = line.split()
            if line.startswith(" ---> ") and len(words) == 2:  # noqa: PLR2004 - the arrow and an image
                seen[words[1]] = None
            if line.strip():
                yield line.rstrip("\r")[:_WIDTH]
    if held:
        yield held


def user_named(named: str) -> str | None:
    """`uid:gid` of what an image says; None: a name, root, or nothing that is a number."""
    uid, _, gid = named.partition(":")
    gid = gid or uid
    return f"{uid}:{gid}" if _is_no_root(uid) and _is_no_root(gid) else None


def _is_no_root(number: str) -> bool:
    return number.isascii() and number.isdigit() and len(number) <= _LONGEST_NUMBER and int(number) != 0


def _ports(exposed: Json) -> tuple[int, ...]:
    found = (key.partition("/") for key in exposed)
    return tuple(sorted(int(port) for port, _, kind in found if port.isdigit() and kind in {"", "tcp"}))
