"""Running services: one uvicorn server each, several in one loop, one graceful stop for all."""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import uvicorn
from fastapi import FastAPI

from runyard_chassis import tracing
from runyard_chassis.logs import configure_logging, get_logger, log_context
from runyard_chassis.settings import ServiceSettings, load_settings

S = TypeVar("S", bound=ServiceSettings)
_log = get_logger(__name__)


@dataclass(frozen=True)
class Service:
    """A service ready to be served: what each `app.build(settings)` returns."""

    name: str
    app: FastAPI
    host: str
    port: int
    shutdown_grace_seconds: int = 10

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{self.host}:{self.port}"


class PortTakenError(Exception):
    """A service's address is in use. The text names it and the way out."""

    def __init__(self, service: Service, reason: str) -> None:
        super().__init__(
            f"{service.name} cannot listen on {service.host}:{service.port} ({reason}). Stop what uses that port "
            f"(`ss -ltnp 'sport = :{service.port}'` shows it), or choose other ports: RUNYARD_PORT_BASE moves the "
            "whole stack, PORT a single service."
        )
        self.service = service


class StartFailedError(Exception):
    """A service's start-up code failed; the log says why."""


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        _log.info("service.started", url=f"http://{self.config.host}:{self.config.port}")
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        # Several servers share a loop: signals are handled once, by whoever runs it.
        yield


@dataclass(frozen=True, slots=True)
class _Running:
    service: Service
    server: _Server
    task: asyncio.Task[None]


async def serve(
    services: Service | Sequence[Service],
    stop: asyncio.Event | None = None,
    *,
    stops_first: str | None = None,
    on_ready: Callable[[], None] | None = None,
) -> None:
    """Serves until `stop` is set or a service ends; then stops all: streams end, requests finish, lifespans close.

    The service called `stops_first` has ended before the others are asked to: it ends what needs them. `on_ready` is
    called once every service has started and listens.

    Raises:
        PortTakenError: before anything has started.
        StartFailedError: a service's lifespan failed; the others have been stopped.
    """
    everyone = [services] if isinstance(services, Service) else list(services)
    stop = stop or asyncio.Event()
    with _bound(everyone) as sockets:
        running = [_begin(service, sock) for service, sock in zip(everyone, sockets, strict=True)]
        until_stop = asyncio.create_task(stop.wait())
        announcing = asyncio.create_task(_announce([one.server for one in running], on_ready))
        try:
            await asyncio.wait([until_stop, *(one.task for one in running)], return_when=asyncio.FIRST_COMPLETED)
        finally:
            until_stop.cancel()
            announcing.cancel()
            await _end([one for one in running if one.service.name == stops_first])
            results = await _end(running)
            for service in everyone:
                await tracing.close(getattr(service.app.state, "tracer_provider", None))
    _raise_first(results)


def _begin(service: Service, sock: socket.socket) -> _Running:
    server = _server(service)
    task = asyncio.create_task(_run(service, server, sock), name=f"serve-{service.name}")
    return _Running(service, server, task)


async def _run(service: Service, server: _Server, sock: socket.socket) -> None:
    tracing.use(getattr(service.app.state, "tracer_provider", None))
    with log_context(service=service.name):
        try:
            await server.serve(sockets=[sock])
        except SystemExit:
            raise StartFailedError(f"{service.name} did not start: see its log lines above.") from None
        _log.info("service.stopped")


async def _end(running: Sequence[_Running]) -> list[BaseException | None]:
    """Asks them to stop and waits until they have; what each of them failed with."""
    for one in running:
        stopping = getattr(one.service.app.state, "stopping", None)
        if isinstance(stopping, asyncio.Event):
            stopping.set()
        one.server.should_exit = True
    return await asyncio.gather(*(one.task for one in running), return_exceptions=True)


async def _announce(servers: Sequence[_Server], on_ready: Callable[[], None] | None) -> None:
    for server in servers:
        await server.up.wait()
    if on_ready is not None:
        on_ready()


def _raise_first(results: Sequence[BaseException | None]) -> None:
    for result in results:
        if result is not None:
            raise result


def _server(service: Service) -> _Server:
    return _Server(
        uvicorn.Config(
            service.app,
            host=service.host,
            port=service.port,
            http="httptools",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=service.shutdown_grace_seconds,
            timeout_keep_alive=30,
        )
    )


@contextlib.contextmanager
def _bound(services: Sequence[Service]) -> Generator[list[socket.socket]]:
    """Listening sockets for all, or none: a taken port is known before any service has begun."""
    with contextlib.ExitStack() as opened:
        yield [opened.enter_context(contextlib.closing(_bind(service))) for service in services]


def _bind(service: Service) -> socket.socket:
    family = socket.AF_INET6 if ":" in service.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((service.host, service.port))
        sock.listen(2048)
    except OSError as error:
        sock.close()
        raise PortTakenError(service, error.strerror or str(error)) from error
    sock.setblocking(False)
    return sock


def run_service(build: Callable[[S], Service], settings_class: type[S]) -> None:
    """`python -m runyard_x`: settings from the environment, logs, one service, until SIGTERM or SIGINT.

    A second signal ends the process at once.
    """
    settings = load_settings(settings_class)
    configure_logging(settings.log_level, format=settings.log_format, redactor=settings.redactor)
    try:
        run_until_signal(lambda stop: serve(build(settings), stop))
    except (PortTakenError, StartFailedError) as error:
        sys.exit(str(error))


def run_until_signal(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Runs `main(stop)` on uvloop; SIGTERM and SIGINT set `stop`, a second one ends the process at once."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_with_signals(main))


async def _with_signals(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            _log.warning("service.killed", signal=number.name)
            # The default action, so that the parent sees a death by signal.
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        _log.info("service.stopping", signal=number.name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    try:
        await main(stop)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        from runyard_chassis.loop import new_event_loop  # noqa: PLC0415
    except ImportError:
        return asyncio.new_event_loop
    return new_event_loop
