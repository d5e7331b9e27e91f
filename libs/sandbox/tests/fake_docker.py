"""A Docker engine's HTTP interface in memory, as far as containers go: it can hang where a test wants it to."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Json = dict[str, Any]
Main = Callable[[str, dict[str, str]], Awaitable[None]]
_VERSION = {"Version": "29", "ApiVersion": "1.41", "MinAPIVersion": "1.24"}


@dataclass
class Made:
    """One container."""

    id: str
    name: str
    config: Json
    status: str = "created"
    exit_code: int = 0
    process: "asyncio.Task[None] | None" = None


@dataclass
class FakeDocker:
    """`main` runs in what is started: its name and its environment. Whatever is in `hangs` waits for `go`."""

    main: Main | None = None
    hangs: list[str] = field(default_factory=list[str])
    """`create` or `start`: the next requests of this kind are begun and not answered."""
    go: asyncio.Event = field(default_factory=asyncio.Event)
    """Lets what hangs go on: the engine does it in the end, whoever has asked is gone."""
    made: dict[str, Made] = field(default_factory=dict[str, Made])
    asked: Counter[str] = field(default_factory=Counter[str])
    """Requests by kind."""
    started: list[str] = field(default_factory=list[str])
    _over: asyncio.Event = field(default_factory=asyncio.Event)
    _count: int = 0
    _late: "set[asyncio.Task[Any]]" = field(default_factory=set["asyncio.Task[Any]"])

    @asynccontextmanager
    async def serving(self, folder: Path) -> AsyncGenerator[str]:
        """The engine's address."""
        path = folder / "docker.sock"
        server = await asyncio.start_unix_server(self._connected, path)
        try:
            yield f"unix://{path}"
        finally:
            self.go.set()
            self._over.set()
            await asyncio.gather(*self._late, return_exceptions=True)
            for one in list(self.made.values()):
                await self._end(one, 137)
            server.close()

    def end(self, name: str, exit_code: int) -> None:
        """Its process has ended."""
        one = self.made[name]
        one.status, one.exit_code = "exited", exit_code

    async def settled(self) -> None:
        """What hung has come to its end."""
        self.go.set()
        await asyncio.gather(*self._late)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().splitlines()
                length = next((int(one.split(":")[1]) for one in lines if one.lower().startswith("content-length")), 0)
                body: Json = json.loads(await reader.readexactly(length) or b"{}")
                method, target, _ = first.split(" ")
                status, answer = await self._answer(method, target, body)
                payload = b"" if status == 204 else json.dumps(answer).encode()
                kind = "Content-Type: application/json\r\n"
                writer.write(f"HTTP/1.1 {status} X\r\n{kind}Content-Length: {len(payload)}\r\n\r\n".encode() + payload)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, method: str, target: str, body: Json) -> tuple[int, Any]:
        parts = urlsplit(target)
        path = [unquote(one) for one in parts.path.split("/") if one and not one.startswith("v1.")]
        match (method, *path):
            case ("GET", "version" | "_ping" | "events" as kind):
                if kind == "events":
                    await self._over.wait()
                return 200, _VERSION
            case ("GET", "containers", "json"):
                self.asked["list"] += 1
                return 200, [_summary(one) for one in self.made.values()]
            case ("POST", "containers", "create"):
                return await self._slowly("create", self._create(parse_qs(parts.query)["name"][0], body))
            case (_, "containers", name, *rest) if (one := self._named(name)) is not None:
                return await self._about(method, one, rest)
            case _:
                return 404, {"message": f"No such thing: {target}"}

    async def _about(self, method: str, one: Made, rest: list[str]) -> tuple[int, Any]:
        match (method, *rest):
            case ("GET", "json"):
                self.asked["inspect"] += 1
                return 200, _inspection(one)
            case ("POST", "start"):
                return await self._slowly("start", self._start(one))
            case ("DELETE",):
                self.asked["remove"] += 1
                self.made.pop(one.name)
                await self._end(one, 137)
                return 204, None
            case _:
                return 404, {"message": f"No such thing: {rest}"}

    async def _slowly(self, kind: str, act: Awaitable[tuple[int, Any]]) -> tuple[int, Any]:
        self.asked[kind] += 1
        if kind not in self.hangs:
            return await act
        self.hangs.remove(kind)

        async def later() -> tuple[int, Any]:
            await self.go.wait()
            return await act

        task = asyncio.ensure_future(later())  # the engine goes on though nobody waits for its answer any more
        self._late.add(task)
        return await asyncio.shield(task)

    async def _create(self, name: str, config: Json) -> tuple[int, Any]:
        if name in self.made:
            return 409, {"message": f"Conflict. The container name {name} is already in use"}
        self._count += 1
        one = self.made[name] = Made(f"id{self._count}", name, config)
        return 201, {"Id": one.id, "Warnings": []}

    async def _start(self, one: Made) -> tuple[int, Any]:
        if self.made.get(one.name) is not one:
            return 404, {"message": f"No such container: {one.name}"}
        one.status = "running"
        self.started.append(one.name)
        if self.main is not None:
            env = dict(each.split("=", 1) for each in one.config["Env"])
            one.process = asyncio.ensure_future(self.main(one.name, env))
        return 204, None

    async def _end(self, one: Made, exit_code: int) -> None:
        one.status, one.exit_code = "exited", exit_code
        if one.process is not None:
            one.process.cancel()
            await asyncio.gather(one.process, return_exceptions=True)

    def _named(self, name: str) -> Made | None:
        return self.made.get(name) or next((one for one in self.made.values() if one.id == name), None)


def _summary(one: Made) -> Json:
    words = {"exited": f"Exited ({one.exit_code}) 3 minutes ago", "created": "Created"}.get(one.status, "Up 3 minutes")
    return {
        "Id": one.id,
        "Names": [f"/{one.name}"],
        "State": one.status,
        "Status": words,
        "Created": 1,
        "Labels": one.config["Labels"],
    }


def _inspection(one: Made) -> Json:
    state = {"Status": one.status, "ExitCode": one.exit_code, "OOMKilled": False, "Paused": False, "Health": None}
    return {
        "Id": one.id,
        "Name": f"/{one.name}",
        "Image": "sha256:1",
        "Created": "2026-11-21T07:22:54.123456789Z",
        "State": state,
        "Config": {"Labels": one.config["Labels"], "Image": one.config["Image"]},
    }
