"""Wires llm-gateway together."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import uuid4

from fastapi import FastAPI
from nats.aio.client import Client

from runyard_chassis import LLM_AUDIENCE, Database, Service, Tokens, connect_service, create_app, derive_key, get_logger
from runyard_chassis.tokens import SESSION_AUDIENCE, SESSION_KEY
from runyard_events import EventLog, Projector
from runyard_events.tasks import in_background
from runyard_llm_gateway import store
from runyard_llm_gateway.access import RunAccess
from runyard_llm_gateway.api import router
from runyard_llm_gateway.handlers import ChatDesk, UsageQueries
from runyard_llm_gateway.ledger import Ledger
from runyard_llm_gateway.measures import Measures
from runyard_llm_gateway.plane import DataPlane, Front, PlaneHolder
from runyard_llm_gateway.providers.http import Endpoint, HttpProvider, Limits, open_session
from runyard_llm_gateway.providers.scripted.provider import ScriptedProvider
from runyard_llm_gateway.routing import Routes, endpoints
from runyard_llm_gateway.run_tokens import TokenExchange
from runyard_llm_gateway.runs import RunFinder
from runyard_llm_gateway.settings import LlmGatewaySettings

NAME = "llm-gateway"
PACKAGE = "runyard_llm_gateway"
SCHEMA = "llm_gateway"
_PROJECTION_PAUSE = 0.1
_log = get_logger(__name__)


def build(settings: LlmGatewaySettings) -> Service:
    """The service, ready to be served."""
    gateway = _Gateway(settings)
    app = create_app(
        NAME,
        settings=settings,
        ready={"database": gateway.database.ping, "events": gateway.check_events},
        lifespan=gateway.lifespan,
        description="The only holder of provider keys: model APIs for runs, usage and cost for people.",
    )
    app.include_router(router)
    app.add_middleware(Front, plane=gateway.holder)
    return Service(
        name=NAME,
        app=app,
        host=settings.host,
        port=settings.port,
        shutdown_grace_seconds=settings.shutdown_grace_seconds,
    )


class _Gateway:
    """Everything that lives as long as the service does."""

    def __init__(self, settings: LlmGatewaySettings) -> None:
        self._settings = settings
        self.database = Database(settings.database_url, SCHEMA, pool_size=2, max_overflow=4)
        self.holder = PlaneHolder()
        self._client: Client | None = None

    async def check_events(self) -> bool:
        """A readiness check: the connection to the event log stands."""
        return self._client is not None and self._client.is_connected

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncGenerator[None]:
        """Connections and tasks: opened before the first request, closed after the last."""
        settings = self._settings
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.database.close)
            await self.database.migrate(PACKAGE)
            self._client = client = await connect_service(NAME, settings)
            stack.push_async_callback(client.close)
            log = EventLog(client)
            ledger = Ledger(
                instance=uuid4().hex[:8],
                capacity=settings.ledger_capacity,
                wait_seconds=settings.ledger_wait_seconds,
            )
            await stack.enter_async_context(in_background(self._project(log, client)))
            await stack.enter_async_context(in_background(ledger.run(log)))
            stack.push_async_callback(_flush, ledger, settings.shutdown_grace_seconds)
            routes = await self._routes(stack)
            measures = Measures(app.state.metrics, ledger)
            app.state.usage_queries = UsageQueries(self.database)
            app.state.chat_desk = ChatDesk(routes=routes, ledger=ledger, runs=RunFinder(log), measures=measures)
            run_tokens = Tokens(settings.run_key(), LLM_AUDIENCE)
            session_key = derive_key(settings.jwt_secret_key, SESSION_KEY)
            app.state.exchange = TokenExchange(
                log, session_tokens=Tokens(session_key, SESSION_AUDIENCE), run_tokens=run_tokens
            )
            self.holder.plane = DataPlane(
                access=RunAccess(run_tokens),
                routes=routes,
                ledger=ledger,
                measures=measures,
                models=(
                    settings.runyard_openai_model,
                    settings.runyard_anthropic_model,
                    settings.runyard_gemini_model,
                    "runyard-scripted",
                ),
                max_body_bytes=settings.max_body_bytes,
                max_answer_bytes=settings.max_answer_bytes,
            )
            yield
            self.holder.plane = None

    async def _project(self, log: EventLog, client: Client) -> None:
        projector = Projector(
            name=store.PROJECTION,
            log=log,
            client=client,
            subjects=[store.SUBJECT],
            sessions=self.database.session,
            checkpoints=store.checkpoints,
            apply=store.apply,
            pause_seconds=_PROJECTION_PAUSE,
        )
        await projector.run()

    async def _routes(self, stack: AsyncExitStack) -> Routes:
        settings = self._settings
        limits = Limits(
            connect=settings.connect_timeout_seconds,
            first_byte=settings.first_byte_timeout_seconds,
            idle=settings.idle_timeout_seconds,
            retries=settings.upstream_retries,
            proxy=settings.upstream_proxy,
        )
        session = await stack.enter_async_context(open_session(limits, settings.upstream_connections))

        def provider(endpoint: Endpoint | None) -> HttpProvider | None:
            return HttpProvider(endpoint, session, limits) if endpoint else None

        known = endpoints(settings)
        return Routes(
            scripted=ScriptedProvider(),
            responses=provider(known.responses),
            chat=provider(known.chat),
            anthropic=provider(known.anthropic),
            anthropic_chat=provider(known.anthropic_chat),
            gemini=provider(known.gemini),
        )


async def _flush(ledger: Ledger, seconds: float) -> None:
    left = await ledger.flush(seconds)
    if left:
        _log.error("ledger.lost_at_stop", events=left)
