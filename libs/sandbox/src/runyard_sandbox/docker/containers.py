"""One container's way from nothing to running and back, each step as often as wanted."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from runyard_sandbox.docker.arguments import Place, create_arguments
from runyard_sandbox.docker.engine import Engine, Json, NoAnswer, Refused, part
from runyard_sandbox.docker.labels import INSTALLATION, KIND, OWNER, SANDBOX, epoch_of, is_of_a_build
from runyard_sandbox.docker.settings import DockerSettings
from runyard_sandbox.provisioner import EngineAway, Failure, NotThere, ProvisionFailed, SandboxFault, Spec

_GONE_SECONDS = 30.0
_SETTLE_SECONDS = 5.0
_PAUSE_SECONDS = 0.05


class Containers:
    """The installation's sandboxes on one engine."""

    def __init__(self, engine: Engine, settings: DockerSettings) -> None:
        self._engine = engine
        self._settings = settings

    async def find(self, name: str) -> Json | None:
        """One of ours; a stranger's of the same name is none."""
        data = await self._engine.inspect_container(name)
        return data if data is not None and self._is_ours(data) else None

    async def get(self, name: str) -> Json:
        """One of ours, or `NotThere`."""
        if (data := await self.find(name)) is None:
            raise NotThere(f"there is no sandbox {name}")
        return data

    async def is_outdated(self, data: Json) -> bool:
        """Whether one at rest was made of what its image's name stood for once, and not of what it stands for now."""
        if data["State"]["Status"] != "exited":
            return False
        return await self._engine.image_id(str(part(data, "Config")["Image"])) not in {None, data["Image"]}

    async def reusable(self, spec: Spec) -> Json | None:
        """The container that this very spec has made before; one that got no further than its creation is started.

        None: there is none, or one that cannot be started and was removed.
        """
        data = await self._engine.inspect_container(spec.name)
        if data is None:
            return None
        labels = part(data, "Config", "Labels")
        if not self._is_ours(data) or labels.get(OWNER) != spec.owner_id or epoch_of(labels) != spec.epoch:
            raise ProvisionFailed(f"the name {spec.name} is taken by something else")
        if data["State"]["Status"] != "created":
            return data
        try:
            await self._set_going(spec.name)
            return await self.get(spec.name)
        except Refused:
            # Whoever made it did not come to its start, and has given its network back.
            await self.remove(spec.name)
            return None

    async def make(self, spec: Spec, place: Place | None) -> Json:
        """Creates and starts it.

        Raises:
            ProvisionFailed: the engine refused; nothing of it is left.
        """
        image = spec.image or self._settings.images.get(spec.purpose)
        if image is None:
            raise ProvisionFailed(f"no image is configured for {spec.purpose}", reason="image_missing")
        arguments = create_arguments(
            spec,
            installation=self._settings.installation,
            image=image,
            user=self._settings.user,
            init=self._settings.init,
            place=place,
        )
        try:
            await self._engine.create_container(spec.name, arguments)
        except Refused as error:
            if error.is_conflict and (there := await self.reusable(spec)) is not None:
                return there  # made at the same time by somebody with the same task
            raise ProvisionFailed(str(error), reason=_reason(error)) from None
        except NoAnswer:
            # Should it come to be after all, it is never started, and removed as one that is nobody's.
            await self.remove(spec.name)
            raise ProvisionFailed(self._hangs("made")) from None
        try:
            await self._set_going(spec.name)
            return await self.get(spec.name)
        except Refused as error:
            await self.remove(spec.name)
            raise ProvisionFailed(str(error), reason=_reason(error)) from None

    async def start(self, name: str) -> None:
        """Starts one at rest.

        Raises:
            SandboxFault: it cannot be started.
        """
        try:
            await self._set_going(name)
        except Refused as error:
            raise SandboxFault(str(error)) from None

    async def remove(self, name: str) -> None:
        """Kills and removes it, and waits until it is gone."""
        deadline = time.monotonic() + _GONE_SECONDS
        while True:
            try:
                return await self._engine.remove_container(name)
            except Refused as error:
                if error.is_missing:
                    return None
                # The engine is removing it already, or its storage is still busy for a moment.
                if time.monotonic() > deadline:
                    raise EngineAway(f"{name} cannot be removed: {error}") from None
            await asyncio.sleep(_PAUSE_SECONDS)

    async def stop(self, name: str, grace_seconds: float) -> None:
        """A paused one is woken first: its processes could not hear that they shall end."""
        if (data := await self.find(name)) is None:
            return
        if data["State"]["Paused"]:
            await self.resume(name)
        try:
            await self._engine.stop_container(name, grace_seconds)
        except Refused as error:
            if not error.is_missing:
                raise

    async def pause(self, name: str) -> None:
        """Freezing follows thawing only after a moment; until then the engine answers 409."""
        await self._settle(name, self._engine.pause_container, frozen=True)

    async def resume(self, name: str) -> None:
        """The same for thawing."""
        await self._settle(name, self._engine.unpause_container, frozen=False)

    async def _set_going(self, name: str) -> None:
        try:
            await self._engine.start_container(name)
        except NoAnswer:
            # Only what is gone cannot start later, beside the one that takes its place.
            await self.remove(name)
            raise ProvisionFailed(self._hangs("started")) from None

    async def _settle(self, name: str, change: Callable[[str], Awaitable[None]], *, frozen: bool) -> None:
        deadline = time.monotonic() + _SETTLE_SECONDS
        while (await self.get(name))["State"]["Paused"] is not frozen:
            try:
                await change(name)
            except Refused as error:
                if time.monotonic() > deadline:
                    raise
                if error.is_missing:
                    raise NotThere(f"there is no sandbox {name}") from None
                await asyncio.sleep(_PAUSE_SECONDS)

    def _hangs(self, done: str) -> str:
        return f"the Docker engine has not {done} the container within {self._settings.start_seconds:g} s"

    def _is_ours(self, data: Json) -> bool:
        if is_of_a_build(str(data["Name"])):
            return False
        labels = part(data, "Config", "Labels")
        return labels.get(INSTALLATION) == self._settings.installation and labels.get(KIND) == SANDBOX


def _reason(refused: Refused) -> Failure:
    words = str(refused).lower()
    if "no space left on device" in words:
        return "disk_full"
    return "image_missing" if refused.is_missing and "image" in words else "create_failed"
