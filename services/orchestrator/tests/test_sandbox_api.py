"""What containers use, print and try to reach: as events, and by the service's own routes."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from runyard_chassis.tokens import Tokens, derive_key
from runyard_events import EventLog, Redactor
from runyard_events.catalogue import SandboxRules
from runyard_events.commands import SetSandboxRules
from runyard_orchestrator.domain.egress import allows
from runyard_orchestrator.domain.sandbox import Sandbox
from runyard_orchestrator.handlers import telemetry
from runyard_orchestrator.handlers.telemetry import Reports, Telemetry
from runyard_orchestrator.store.reading import SessionKey
from runyard_sandbox import EngineAway, Stats

from .conftest import KEY
from .engine import MemoryEngine, address_of
from .yards import Yard, until, yard

__all__ = ["yard"]

SECRET = "ghp_0123456789abcdefghijklmnopqrstuvwxyz"


async def test_measures_and_lines_of_a_container_become_events_without_secrets(yard: Yard) -> None:
    yard.engine.stats_now = Stats(at=datetime.now(UTC), cpu_percent=12.34, memory_bytes=5000, processes=3)
    async with yard.serving() as service, yard.world.http(service) as http:
        session_id = await yard.world.session()
        await yard.control(session_id, "create")
        yard.engine.print(yard.name(session_id), "ready", f"token {SECRET}")
        stats = (await yard.world.seen(session_id, "sandbox.stats")).event.payload
        logged = (await yard.world.seen(session_id, "sandbox.logged")).event.payload
        assert (stats.cpu_percent, stats.memory_bytes, stats.processes) == (12.3, 5000, 3)
        assert logged.lines == ("ready", "token [redacted]")

        usage = (await http.get(f"/sessions/{session_id}/sandbox/stats")).json()
        assert (usage["memory_bytes"], usage["disk_bytes"]) == (5000, None)
        shown = (await http.get(f"/sessions/{session_id}/sandbox/logs", params={"tail": 1})).json()
        assert [line["text"] for line in shown["lines"]] == ["token [redacted]"]
        told = [one.event.type for one in await yard.world.events(session_id)]
        assert told.count("sandbox.stats") == 1


async def test_an_engine_that_stays_away_is_spoken_of_once(
    event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Away(MemoryEngine):
        asked = 0

        async def _answer(self, asked: str = "") -> None:
            self.asked += 1
            raise EngineAway(asked)

    engine = Away()
    monkeypatch.setattr(telemetry, "_AGAIN_SECONDS", 0.01)
    watching = Telemetry(engine, Reports(event_log, Redactor()))
    with capture_logs() as said:
        watching.attend(SessionKey("t", "s"), Sandbox(status="running", epoch=1, name="box"))
        await until(lambda: engine.asked >= 20)
        await watching.close()
    assert [one["event"] for one in said] == ["telemetry.interrupted"] * 2


async def test_a_container_that_floods_is_read_in_its_turn(yard: Yard) -> None:
    async with yard.serving():
        session_id = await yard.world.session()
        await yard.control(session_id, "create")
        await yard.world.seen(session_id, "sandbox.stats")
        yard.engine.print(yard.name(session_id), *(f"line {number}" for number in range(12_000)))
        told = [(await yard.world.seen(session_id, "sandbox.logged", count=count)).event.payload for count in (1, 2, 3)]
    assert told[0].lines[0] == "line 0"
    assert [one.dropped for one in told[:2]] == [5000, 5000]
    assert sum(len(one.lines) + one.dropped for one in told) == 12_000


async def test_lines_can_be_followed(yard: Yard) -> None:
    async with yard.serving() as service, yard.world.http(service) as http:
        session_id = await yard.world.session()
        await yard.control(session_id, "create")
        yard.engine.print(yard.name(session_id), "first")
        url = f"/sessions/{session_id}/sandbox/logs"
        reading = asyncio.create_task(http.get(url, params={"follow": "true"}))
        await yard.world.seen(session_id, "sandbox.logged")
        yard.engine.print(yard.name(session_id), "second")
        await asyncio.sleep(0.1)
        await yard.control(session_id, "stop")
        answer = await asyncio.wait_for(reading, 10)
    assert answer.headers["content-type"].startswith("text/event-stream")
    data = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert [one["text"] for one in data] == ["first", "second"]


async def test_nobody_sees_the_containers_of_another_tenant(yard: Yard) -> None:
    async with yard.serving() as service, yard.world.http(service) as http:
        session_id = await yard.world.session()
        assert (await http.get(f"/sessions/{session_id}/sandbox/logs")).status_code == 404
        await yard.control(session_id, "create")
        stranger = {"Authorization": f"Bearer {Tokens(KEY).mint(tenant='other', user='eve', role='user')}"}
        for what in ("logs", "stats"):
            answer = await http.get(f"/sessions/{session_id}/sandbox/{what}", headers=stranger)
            assert (answer.status_code, answer.json()["type"]) == (404, "container-not-found")
        await yard.control(session_id, "stop")
        assert (await http.get(f"/sessions/{session_id}/sandbox/stats")).status_code == 409


async def test_the_proxy_learns_where_a_container_may_go_and_refusals_are_told(yard: Yard) -> None:
    async with yard.serving() as service, yard.world.http(service) as http:
        session_id = await yard.world.session()
        await yard.control(session_id, "create")
        peer = address_of(yard.engine.held[yard.name(session_id)].sandbox)
        proxy = {"Authorization": f"Bearer {derive_key(KEY, 'egress')}"}

        async def ask(host: str, *, peer: str = peer, headers: dict[str, str] = proxy) -> Any:
            query = {"peer": peer, "host": host, "port": "443"}
            return await http.get("/internal/egress", params=query, headers=headers)

        assert (await ask("github.com")).json()["allowed"] is True
        assert [(await ask("evil.example")).json()["allowed"] for _ in range(3)] == [False] * 3
        denied = (await yard.world.seen(session_id, "sandbox.egress_denied")).event.payload
        assert (denied.host, denied.port, denied.count) == ("evil.example", 443, 3)
        assert (await ask("github.com", peer="10.9.9.9")).json()["allowed"] is False
        user = {"Authorization": f"Bearer {Tokens(KEY).mint(tenant=yard.world.tenant, user='ada')}"}
        assert (await ask("github.com", headers=user)).status_code == 403
        await yard.world.ask(SetSandboxRules(rules=SandboxRules(egress=("only.example",))))
        assert (await ask("github.com")).json()["allowed"] is False
        assert (await ask("only.example")).json()["allowed"] is True
        yard.engine.go_away()
        assert (await ask("only.example")).json()["allowed"] is False


@pytest.mark.parametrize(
    ("entry", "host", "port", "opens"),
    [
        ("packages.example", "packages.example", 443, True),
        ("packages.example", "Packages.Example.", 80, True),
        ("packages.example", "packages.example", 22, False),
        ("packages.example", "evil-packages.example", 443, False),
        ("packages.example", "a.packages.example", 443, False),
        ("*.packages.example", "a.b.packages.example", 443, True),
        ("*.packages.example", "packages.example", 443, False),
        ("*.packages.example", "evilpackages.example", 443, False),
        ("git.example:22", "git.example", 22, True),
        ("git.example:22", "git.example", 443, False),
        ("*.git.example:8443", "a.git.example", 8443, True),
        ("10.1.2.3", "10.1.2.3", 443, True),
        ("[fd00::1]:8443", "fd00::1", 8443, True),
        ("fd00::1", "[fd00::1]", 443, True),
        ("*.2.3", "10.1.2.3", 443, False),
        ("", "", 443, False),
        ("packages.example", "packages.example", 0, False),
        ("*.", "anything", 443, False),
    ],
)
def test_a_list_opens_what_it_names_and_nothing_beside(entry: str, host: str, port: int, opens: bool) -> None:  # noqa: FBT001
    assert allows([entry], host, port) is opens
