"""The service with SANDBOX=dokploy and SANDBOX=kubernetes: wired by its own settings, over real HTTP."""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn
import yaml
from nats.aio.client import Client
from pydantic import ValidationError

from runyard_chassis import Database, Service
from runyard_chassis.tokens import SESSION_AUDIENCE, SESSION_KEY, TokenError, Tokens, derive_key
from runyard_events import EventLog, StoredEvent
from runyard_events.catalogue import SandboxRules
from runyard_events.commands import ControlSandbox, DeleteSession, SetSandboxRules
from runyard_events.subjects import session_subject
from runyard_orchestrator.adapters.provisioners import PAGE_READERS, PROXY_PODS
from runyard_orchestrator.settings import Settings
from runyard_orchestrator.store.tables import SCHEMA
from runyard_sandbox import Spec
from runyard_sandbox.proxy.config import ProxyConfig, Target
from runyard_sandbox.proxy.server import ProxyServer

from .boxed import BoxedRunner
from .conftest import KEY, World, serving
from .platforms import PROXY_TOKEN, OnKubernetes, Platform, settings_on, standing
from .test_store import contents
from .yards import until

ROOT = Path(__file__).parents[3]


@dataclass
class Site:
    """The service's settings, its neighbours, the platform, and what runs in the containers there."""

    world: World
    platform: Platform
    runner: BoxedRunner
    shared: Path

    @asynccontextmanager
    async def serving(self, *, idle: float = 900, **more: Any) -> AsyncGenerator[Service]:
        settings = settings_on(self.platform, self.world.settings, self.shared, **more)
        async with serving(settings.model_copy(update={"sandbox_idle_seconds": idle})) as service:
            yield service

    async def statuses(self, session_id: str) -> list[str]:
        subject = session_subject(self.world.tenant, session_id, "sandbox")
        return [stored.event.type.removeprefix("sandbox.") async for stored in self.world.log.replay(subject)]

    async def environments(self) -> list[tuple[str, str, str, str]]:
        """The rows of `container_environments`: team, type, name, status."""
        database = Database(self.world.settings.database_url, SCHEMA)
        try:
            rows = (await contents(database, ["container_environments"]))["container_environments"]
        finally:
            await database.close()
        return [(row[1], row[2], row[3], row[4]) for row in rows]

    async def everything_told(self, session_id: str) -> str:
        return "".join(stored.event.model_dump_json() for stored in await self.world.events(session_id))

    def name(self, session_id: str, epoch: int = 1) -> str:
        return f"runyard-{session_id[:8]}-{epoch}"


@pytest.fixture(params=["dokploy", "kubernetes"])
async def site(
    request: pytest.FixtureRequest, surroundings: World, nats_client: Client, event_log: EventLog, tmp_path: Path
) -> AsyncIterator[Site]:
    shared = tmp_path / "shared"
    surroundings.workspace.root = str(shared / "workspaces")
    runner = BoxedRunner(nats_client, event_log)

    async def main(name: str, env: Mapping[str, str]) -> None:
        owner = env["SESSION_ID"]
        one = Spec(name=name, purpose="agent", tenant_id="", owner_id=owner, epoch=1, image=None, env=env)
        await runner.main(one)

    async with standing(request.param, tmp_path) as platform:
        platform.mains.main = main
        yield Site(surroundings, platform, runner, shared)


async def test_a_session_runs_rests_runs_again_and_goes(site: Site) -> None:
    world, platform = site.world, site.platform
    async with site.serving(idle=1):
        session_id = await world.session()
        name = site.name(session_id)
        first = await world.prompt(session_id)
        await world.seen(session_id, "run.completed", run_id=first)
        dispatched = (await world.seen(session_id, "run.dispatched", run_id=first)).event.payload
        running = (await world.seen(session_id, "sandbox.running")).event.payload
        assert (await site.statuses(session_id))[:3] == ["requested", "creating", "running"]
        assert (dispatched.method, running.method, running.name) == (platform.method, platform.method, name)
        assert platform.names == {name}
        assert not world.runner.queue.seen

        assert (await world.seen(session_id, "sandbox.stopped")).event.payload.reason == "idle"
        await until(lambda: platform.at_rest(name))
        assert await site.environments() == [(world.tenant, "agent", name, "stopped")]
        second = await world.prompt(session_id)
        await world.seen(session_id, "run.completed", run_id=second)
        await world.seen(session_id, "sandbox.running", count=2)
        assert (await site.statuses(session_id))[3:6] == ["stopped", "requested", "running"]
        assert [one for one, _ in platform.mains.begun] == [name, name]
        assert [one.native_thread_id for one in site.runner.starts] == [None, f"native-{session_id}"]

        await world.ask(DeleteSession(session_id=session_id))
        assert (await world.seen(session_id, "sandbox.deleted")).event.payload.reason == "session_deleted"
        assert platform.is_clean()
        await until(lambda: _is_deleted(site))
    if isinstance(platform, OnKubernetes):
        asked, granted = platform.fake.rights, _granted()
        assert asked <= granted
        # What is granted beyond that is for pods that ended by themselves and for clusters with a metrics server.
        assert granted - asked <= {("", "pods", "delete"), ("metrics.k8s.io", "pods", "get")}


async def _is_deleted(site: Site) -> bool:
    return [status for *_, status in await site.environments()] == ["deleted"]


def _granted() -> set[tuple[str, str, str]]:
    documents = yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / "orchestrator.yaml").read_text())
    (role,) = (one for one in documents if one["kind"] == "Role")
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


async def test_one_that_vanishes_is_replaced_and_one_of_nobody_removed(site: Site) -> None:
    world, platform = site.world, site.platform
    site.runner.holds = True
    async with site.serving():
        session_id = await world.session()
        run_id = await world.prompt(session_id)
        await world.seen(session_id, "run.started", run_id=run_id)
        await world.seen(session_id, "sandbox.running")
        platform.removes(site.name(session_id))
        assert (await world.seen(session_id, "sandbox.error")).event.payload.reason == "vanished"
        await world.seen(session_id, "run.resumed", run_id=run_id)
        await world.seen(session_id, "sandbox.running", count=2)
        site.runner.let_go(run_id)
        await world.seen(session_id, "run.completed", run_id=run_id)
        mine = site.name(session_id, 2)
        assert platform.names == {mine}

        platform.copies(mine, session_id, "runyard-stray-1")
        await until(lambda: platform.names == {mine})


async def test_a_run_waits_for_a_server_that_is_away(site: Site) -> None:
    world, platform = site.world, site.platform
    async with site.serving() as service, world.http(service) as http:

        async def is_said() -> bool:
            return (await http.get("/ready")).json()["details"]["sandboxes"].startswith("away")

        session_id = await world.session()
        platform.goes_away()
        run_id = await world.prompt(session_id)
        await until(is_said)
        platform.comes_back()
        await world.seen(session_id, "run.completed", run_id=run_id)
        assert "error" not in await site.statuses(session_id)


async def test_a_run_does_not_wait_for_ever_and_the_next_one_goes_on(site: Site) -> None:
    world, platform = site.world, site.platform
    async with site.serving(sandbox_engine_seconds=1):
        session_id = await world.session()
        platform.goes_away()
        failed = (await _ended(world, session_id, await world.prompt(session_id), "run.error")).event.payload
        assert failed.reason == "sandbox_failed"
        assert f"{platform.says} does not answer" in failed.message
        platform.comes_back()
        await _ended(world, session_id, await world.prompt(session_id), "run.completed")


async def test_a_credential_that_is_not_taken_is_told_with_its_remedy_and_without_itself(site: Site) -> None:
    world, platform = site.world, site.platform
    async with site.serving(sandbox_engine_seconds=1, **platform.lock_out()):
        session_id = await world.session()
        failed = (await _ended(world, session_id, await world.prompt(session_id), "run.error")).event.payload
        error = (await world.seen(session_id, "sandbox.error")).event.payload
        assert error.reason == "engine_away"
        for message in (failed.message, error.message):
            assert f"{platform.says} answered 401" in message
            assert platform.remedy in message
    told = await site.everything_told(session_id)
    assert not [secret for secret in platform.secrets if secret in told]
    async with site.serving(**platform.let_in()):
        await _ended(world, session_id, await world.prompt(session_id), "run.completed")


async def _ended(world: World, session_id: str, run_id: str, how: str) -> StoredEvent:
    return await world.seen(session_id, how, run_id=run_id)


async def test_a_container_is_led_to_the_proxy_and_shows_it_who_it_is(site: Site) -> None:
    world, platform = site.world, site.platform
    async with site.serving() as service, world.http(service) as http:
        first, second = await world.session(), await world.session()
        for session_id in (first, second):
            await world.ask(ControlSandbox(session_id=session_id, action="create"))
        given = dict(platform.mains.begun)
        env = given[site.name(first)]
        assert {name: env[name] for name in ("NATS_URL", "LLM_GATEWAY_URL", "MAIN_APP_URL", "MAIN_APP_WS_URL")} == {
            "NATS_URL": "nats://runyard:4222",
            "LLM_GATEWAY_URL": "http://runyard:8086",
            "MAIN_APP_URL": "http://runyard:8080",
            "MAIN_APP_WS_URL": "ws://runyard:8080",
        }
        assert {env[name] for name in ("HTTP_PROXY", "https_proxy")} == {env["HTTPS_PROXY"]}
        assert env["NO_PROXY"] == "runyard,localhost,127.0.0.1,::1"
        passes = [urlsplit(given[site.name(one)]["HTTPS_PROXY"]).password for one in (first, second)]
        assert urlsplit(env["HTTPS_PROXY"]).netloc == f"session:{passes[0]}@runyard:3128"

        async def allows(host: str, shown: str | None, token: str = PROXY_TOKEN) -> Any:
            query = {"peer": "10.1.0.9", "host": host, "port": "443"}
            headers = {"Authorization": f"Bearer {token}"} | ({"X-Runyard-Pass": shown} if shown else {})
            answer = await http.get("/internal/egress", params=query, headers=headers)
            return answer.json().get("allowed", answer.status_code)

        # Both come from one address, as behind a node that masks them: what counts is what they show.
        rules = SandboxRules(egress=("only.example",))
        assert (await world.ask(SetSandboxRules(rules=rules))).ok
        assert [await allows("only.example", shown) for shown in (*passes, None)] == [True, True, False]
        assert await allows("evil.example", passes[1]) is False
        denied = await world.seen(second, "sandbox.egress_denied")
        assert (denied.event.payload.host, "sandbox.egress_denied" in await world.types(first)) == (
            "evil.example",
            False,
        )
        assert await allows("only.example", passes[0], derive_key(KEY, "egress")) == 403

        session_tokens = Tokens(derive_key(KEY, SESSION_KEY), SESSION_AUDIENCE)
        assert await allows("only.example", env["SESSION_TOKEN"]) is False
        with pytest.raises(TokenError):
            session_tokens.verify(passes[0] or "")
        await world.ask(ControlSandbox(session_id=first, action="delete"))
        assert [await allows("only.example", shown) for shown in passes] == [False, True]


async def test_the_proxy_itself_lets_out_whom_the_service_knows(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    # Loopback is never reached through the proxy; here it stands for the outside.
    monkeypatch.setattr("ipaddress.IPv4Address.is_loopback", False)
    world = site.world
    outside = await asyncio.start_server(_answer, "127.0.0.1", 0)
    port = outside.sockets[0].getsockname()[1]
    async with site.serving() as service, _listening(service) as orchestrator:
        proxy = ProxyServer(
            ProxyConfig(
                forwards={},
                decisions=Target(host="127.0.0.1", port=orchestrator),
                egress_port=0,
                private_networks=("127.0.0.0/8",),
                token=PROXY_TOKEN,
            )
        )
        await proxy.start("127.0.0.1")
        rules = SandboxRules(egress=(f"localhost:{port}",))
        assert (await world.ask(SetSandboxRules(rules=rules))).ok
        session_id = await world.session()
        await world.ask(ControlSandbox(session_id=session_id, action="create"))
        told = dict(site.platform.mains.begun)[site.name(session_id)]["HTTP_PROXY"]

        async def fetched(host: str, way: str) -> int:
            here = way.replace("runyard:3128", f"127.0.0.1:{proxy.ports[0]}")
            async with httpx.AsyncClient(proxy=here, trust_env=False) as client:
                return (await client.get(f"http://{host}:{port}/")).status_code

        assert await fetched("localhost", told) == 200
        assert await fetched("127.0.0.1", told) == 403
        assert await fetched("localhost", f"{told.partition('session:')[0]}runyard:3128") == 407
        assert (await world.seen(session_id, "sandbox.egress_denied")).event.payload.host == "127.0.0.1"
        await proxy.close()
    outside.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    writer.close()


@asynccontextmanager
async def _listening(service: Service) -> AsyncGenerator[int]:
    """The service, which runs already, on a port of its own."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(service.app, lifespan="off", log_config=None))
        serving_it = asyncio.create_task(server.serve([bound]))
        try:
            yield bound.getsockname()[1]
        finally:
            server.should_exit = True
            await serving_it


@pytest.mark.parametrize(
    ("method", "without", "said"),
    [
        *(
            ("dokploy", name, name.upper())
            for name in (
                *("dokploy_url", "dokploy_api_key", "dokploy_network", "dokploy_shared_folder"),
                *("dokploy_read_only_folder", "sandbox_user", "sandbox_shared_folder", "sandbox_proxy_token"),
                "dokploy_accept_unhardened",
            )
        ),
        *(
            ("kubernetes", name, name.upper())
            for name in (
                *("kubernetes_claim", "kubernetes_service_host", "sandbox_shared_folder", "sandbox_proxy_token"),
            )
        ),
    ],
)
def test_what_is_not_set_is_said_at_the_start(method: str, without: str, said: str) -> None:
    told: dict[str, Any] = {**_ALL, "sandbox": method}
    Settings(**told)
    del told[without]
    with pytest.raises(ValidationError, match=f"SANDBOX={method} needs {said}"):
        Settings(**told)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"sandbox": "kubernetes", "agents_root": Path("/var/agents")}, r"AGENTS_ROOT .* in SANDBOX_SHARED_FOLDER"),
        ({"sandbox": "dokploy", "sandbox_runtime": "runsc"}, "SANDBOX_RUNTIME cannot be kept"),
        ({"sandbox": "off", "sandbox_required": True}, "SANDBOX_REQUIRED needs a SANDBOX"),
        (
            {"sandbox": "docker", "sandbox_required": True, "sandbox_process_fallback": True},
            "SANDBOX_REQUIRED needs .* no SANDBOX_PROCESS_FALLBACK",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_said_at_the_start(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Settings(**{**_ALL, **wrong})


_ALL: dict[str, Any] = {
    "agents_root": Path("/shared/agents"),
    "sandbox_shared_folder": Path("/shared"),
    "sandbox_proxy_token": "x",
    "sandbox_user": "10001:10001",
    "dokploy_url": "https://dokploy.example",
    "dokploy_api_key": "x",
    "dokploy_network": "sandboxes",
    "dokploy_shared_folder": "/mnt/shared",
    "dokploy_read_only_folder": "/mnt/read-only",
    "dokploy_accept_unhardened": True,
    "kubernetes_claim": "files",
    "kubernetes_service_host": "10.96.0.1",
}


def test_the_manifests_label_pods_as_the_provisioner_selects_them() -> None:
    text = (ROOT / "deploy" / "kubernetes" / "proxy.yaml").read_text()
    (proxies,) = (one for one in yaml.safe_load_all(text) if one["kind"] == "Deployment")
    assert PROXY_PODS.items() <= proxies["spec"]["template"]["metadata"]["labels"].items()
    ((name, value),) = PAGE_READERS.items()
    for file in ("deploy/kubernetes/orchestrator.yaml", "docs/guides/dokploy-and-kubernetes.md"):
        assert f'{name}: "{value}"' in (ROOT / file).read_text()
