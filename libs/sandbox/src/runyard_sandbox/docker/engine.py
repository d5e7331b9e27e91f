"""The Docker SDK behind types: calls in a bounded pool of threads, each with a time-out, errors in our own words.

The SDK is untyped and blocks; nothing outside this module touches it.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, Final, TypeVar, cast

import docker
import docker.errors
import docker.utils
import requests

from runyard_sandbox.docker.labels import is_of_a_build
from runyard_sandbox.provisioner import EngineAway, SandboxFault

Json = dict[str, Any]
T = TypeVar("T")

LOCAL_SOCKET: Final = "unix:///var/run/docker.sock"
_GRACE_SECONDS = 5.0


class Refused(SandboxFault):
    """The engine answered that it will not do this."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def is_missing(self) -> bool:
        """Whether the thing asked for does not exist."""
        return self.status == HTTPStatus.NOT_FOUND

    @property
    def is_conflict(self) -> bool:
        """Whether a name is taken, or the thing is not in a state for this."""
        return self.status == HTTPStatus.CONFLICT


class NoAnswer(EngineAway):
    """The engine has taken the request and not answered in time: it hangs, with all that it does or with this."""


class Engine:
    """One engine. Every call raises `EngineAway` when there is no answer, `Refused` when it is a refusal."""

    def __init__(
        self,
        base_url: str | None = None,
        *,
        call_seconds: float = 30,
        start_seconds: float = 60,
        calls_at_once: int = 16,
    ) -> None:
        found = cast("dict[str, Any]", docker.utils.kwargs_from_env())
        self.base_url = base_url or str(found.get("base_url") or LOCAL_SOCKET)
        self.tls = found.get("tls") if base_url is None else None
        self._call_seconds = call_seconds
        self._start_seconds = start_seconds
        self._threads = ThreadPoolExecutor(calls_at_once, thread_name_prefix="docker")
        self._most = calls_at_once
        self._lock = threading.Lock()
        self._connected: Any = None

    async def close(self) -> None:
        """Lets go of all connections; calls under way come to nothing."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._connected is not None:
            await asyncio.to_thread(self._connected.close)

    async def call(self, call: Callable[[Any], T], *, longer_seconds: float = 0) -> T:
        """Runs `call(client)` in a thread; `longer_seconds` is what it takes by its nature."""
        return await self._within(self._call_seconds + longer_seconds, call)

    async def ping(self, seconds: float = 5) -> None:
        """Whether it answers at all."""
        await self._within(seconds, lambda client: client.ping())

    async def info(self) -> Json:
        """What the engine is and can do."""
        return await self.call(lambda client: client.info())

    async def create_container(self, name: str, config: Json) -> str:
        """Creates one from the engine's own JSON; its id."""

        def create(client: Any) -> Any:
            # The SDK's own method cannot be told how long to wait.
            url, params = client._url("/containers/create"), {"name": name}  # noqa: SLF001
            answer = client._post_json(url, data=config, params=params, timeout=self._start_seconds)  # noqa: SLF001
            return client._result(answer, json=True)  # noqa: SLF001

        return str((await self._within(self._start_seconds, create))["Id"])

    async def start_container(self, name: str) -> None:
        """Starts it; one that runs stays so."""

        def start(client: Any) -> None:
            url = client._url("/containers/{0}/start", name)  # noqa: SLF001 - as above
            client._raise_for_status(client._post(url, timeout=self._start_seconds))  # noqa: SLF001

        await self._within(self._start_seconds, start)

    async def stop_container(self, name: str, grace_seconds: float) -> None:
        """Asks its first process to end and kills what is left after the grace; one that is at rest stays so."""
        await self.call(lambda client: client.stop(name, timeout=round(grace_seconds)), longer_seconds=grace_seconds)

    async def remove_container(self, name: str) -> None:
        """Kills and removes it with its anonymous volumes."""
        await self.call(lambda client: client.remove_container(name, force=True, v=True))

    async def pause_container(self, name: str) -> None:
        """Freezes its processes; 409 when they are frozen already, or still about to thaw."""
        await self.call(lambda client: client.pause(name))

    async def unpause_container(self, name: str) -> None:
        """Thaws its processes; 409 or 500 when they are not frozen."""
        await self.call(lambda client: client.unpause(name))

    async def inspect_container(self, name: str) -> Json | None:
        """Everything about one container; None when there is none."""
        try:
            return await self.call(lambda client: client.inspect_container(name))
        except Refused as error:
            if error.is_missing:
                return None
            raise

    async def containers(self, labels: Sequence[str]) -> list[Json]:
        """Summaries of all that carry all of the labels, at rest or not; never a build's."""
        found: list[Json] = await self.call(lambda client: client.containers(all=True, filters={"label": list(labels)}))
        return [each for each in found if not is_of_a_build(str(each["Names"][0]))]

    async def last_lines(self, name: str, count: int) -> str:
        """What it printed last; nothing when that cannot be had."""
        try:
            said: bytes = await self.call(lambda client: client.logs(name, tail=count))
        except Refused:
            return ""
        return said.decode(errors="replace").strip()

    async def written_bytes(self, name: str) -> int | None:
        """The size of a container's own files on the engine's disk."""
        filters = {"name": [f"^/{name}$"]}
        found: list[Json] = await self.call(lambda client: client.containers(all=True, size=True, filters=filters))
        return int(found[0].get("SizeRw") or 0) if found else None

    async def image_id(self, name: str) -> str | None:
        """What the name of an image means now; None when there is none."""
        found = await self.inspect_image(name)
        return None if found is None else str(found["Id"])

    async def inspect_image(self, name: str) -> Json | None:
        """Everything about one image; None when there is none."""
        try:
            return await self.call(lambda client: client.inspect_image(name))
        except Refused as error:
            if error.is_missing:
                return None
            raise

    async def images(self, labels: Sequence[str]) -> list[Json]:
        """Summaries of all that carry all of the labels."""
        return await self.call(lambda client: client.images(filters={"label": list(labels)}))

    async def remove_image(self, name: str) -> None:
        """Removes it with what it alone was made of; refused while a container has it."""
        await self.call(lambda client: client.remove_image(name))

    async def create_network(self, config: Mapping[str, object]) -> str:
        """Creates one from the engine's own JSON; its id."""

        def create(client: Any) -> Any:
            # The SDK's own method cannot say "no address for the host".
            answer = client._post_json(client._url("/networks/create"), data=config)  # noqa: SLF001
            return client._result(answer, json=True)  # noqa: SLF001

        return str((await self.call(create))["Id"])

    async def networks(self, labels: Sequence[str]) -> list[Json]:
        """Summaries of all that carry all of the labels."""
        return await self.call(lambda client: client.networks(filters={"label": list(labels)}))

    async def inspect_network(self, name: str) -> Json | None:
        """Everything about one network; None when there is none."""
        try:
            return await self.call(lambda client: client.inspect_network(name))
        except Refused as error:
            if error.is_missing:
                return None
            raise

    async def connect(self, network: str, container: str, address: str | None = None) -> None:
        """Gives a container a place on a network, with this address."""
        await self.call(lambda client: client.connect_container_to_network(container, network, ipv4_address=address))

    async def disconnect(self, network: str, container: str) -> None:
        """Takes it away again."""
        await self.call(lambda client: client.disconnect_container_from_network(container, network, force=True))

    async def remove_network(self, name: str) -> None:
        """Removes it; refused while anything is on it."""
        await self.call(lambda client: client.remove_network(name))

    async def volumes(self, labels: Sequence[str]) -> list[str]:
        """Names of all that carry all of the labels."""
        found: Json = await self.call(lambda client: client.volumes(filters={"label": list(labels)}))
        return [str(each["Name"]) for each in cast("list[Json]", found.get("Volumes") or [])]

    async def remove_volume(self, name: str) -> None:
        """Removes it; refused while anything uses it."""
        await self.call(lambda client: client.remove_volume(name, force=True))

    def _client(self) -> Any:
        with self._lock:
            if self._connected is None:
                make: Any = docker.APIClient
                self._connected = make(
                    base_url=self.base_url,
                    tls=self.tls or False,
                    version="auto",
                    timeout=self._call_seconds,
                    max_pool_size=self._most,
                )
            return self._connected

    def _do(self, call: Callable[[Any], T]) -> T:
        try:
            return call(self._client())
        except docker.errors.APIError as error:
            status = int(error.status_code or 500)
            raise Refused(status, str(error.explanation or error)) from None
        except TimeoutError:
            raise
        except requests.ReadTimeout as error:
            raise NoAnswer("the Docker engine has not answered in time") from error
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            raise EngineAway(f"the Docker engine does not answer: {type(error).__name__}") from error

    async def _within(self, seconds: float, call: Callable[[Any], T]) -> T:
        limit = asyncio.timeout(seconds + _GRACE_SECONDS)
        try:
            async with limit:
                return await asyncio.get_running_loop().run_in_executor(self._threads, self._do, call)
        except TimeoutError:
            if not limit.expired():
                raise
            raise NoAnswer(f"the Docker engine has not answered within {seconds:.0f} s") from None


def labelled(labels: Mapping[str, str]) -> list[str]:
    """As the engine's filters want them."""
    return [f"{key}={value}" for key, value in labels.items()]


def part(data: Json, *path: str) -> Json:
    """An object within an object; empty when it is missing or null anywhere on the way."""
    for key in path:
        data = cast("Json", data.get(key) or {})
    return data
