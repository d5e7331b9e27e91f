"""`GET /usage` and `POST /chat`."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import aiohttp
import pytest
from sqlalchemy import select

from runyard_chassis import Database, Tokens
from runyard_events import EventLog, Scope, StoredEvent, Writer
from runyard_events.catalogue import RunRequested
from runyard_llm_gateway import store
from runyard_llm_gateway.access import RunCaller
from runyard_llm_gateway.app import PACKAGE, SCHEMA
from runyard_llm_gateway.domain import CallRecord, completed
from runyard_llm_gateway.usage import Tokens as TokenCounts

from .callers import RESPONSES, post
from .conftest import CANARY, JWT_KEY, Gateway, Upstream
from .samples import CHAT, MESSAGE


async def get(gateway: Gateway, token: str, **params: str) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            f"{gateway.url}/usage", params=params, headers={"authorization": f"Bearer {token}"} if token else {}
        ) as response,
    ):
        return response.status, await response.json()


async def until(gateway: Gateway, count: int) -> Any:
    """The usage, once that many calls are in the table."""
    async with asyncio.timeout(20):
        while True:
            _, page = await get(gateway, gateway.user_token)
            if page["total_count"] >= count:
                return page


async def test_usage_lists_a_tenants_calls_newest_first_in_pages(offline: Gateway) -> None:
    for words in ("one", "two", "three"):
        await post(offline, RESPONSES[0], {"model": f"m-{words}", "input": "hi"})
    page = await until(offline, 3)
    assert [entry["model"] for entry in page["entries"]] == ["m-three", "m-two", "m-one"]
    entry = page["entries"][0]
    assert (entry["run_id"], entry["provider"], entry["scripted"]) == ("run-1", "scripted", True)
    assert (entry["cost_usd"], entry["priced"]) == (0.0, True)
    assert entry["input_tokens"] > 0
    assert page["totals"]["output_tokens"] == sum(one["output_tokens"] for one in page["entries"])
    _, first = await get(offline, offline.user_token, limit="2")
    assert len(first["entries"]) == 2
    assert first["total_count"] == 3
    _, second = await get(offline, offline.user_token, limit="2", cursor=first["next_cursor"])
    assert [one["model"] for one in second["entries"]] == ["m-one"]
    assert second["next_cursor"] is None
    _, filtered = await get(offline, offline.user_token, run_id="another")
    assert (filtered["entries"], filtered["total_count"]) == ([], 0)
    _, later = await get(offline, offline.user_token, **{"from": "2100-01-01T00:00:00Z"})
    assert later["total_count"] == 0
    _, earlier = await get(offline, offline.user_token, session_id="session-1", to="2100-01-01T00:00:00Z")
    assert earlier["total_count"] == 3


async def test_another_tenant_sees_nothing_of_it(offline: Gateway) -> None:
    await post(offline, *RESPONSES)
    await until(offline, 1)
    stranger = Tokens(JWT_KEY).mint(tenant="another-tenant", user="u", role="admin")
    status, page = await get(offline, stranger, run_id="run-1")
    assert (status, page["total_count"], page["entries"]) == (200, 0, [])


async def test_usage_wants_a_users_token(offline: Gateway) -> None:
    for token in ("", "garbage", offline.token):
        status, problem = await get(offline, token)
        assert status == 401
        assert problem["status"] == 401


async def test_bad_filters_are_a_422_problem(offline: Gateway) -> None:
    filters = [("limit", "0"), ("limit", "x"), ("cursor", "-1"), ("cursor", "9" * 30), ("from", "yesterday")]
    for name, value in [*filters, ("run_id", "a.b")]:
        status, problem = await get(offline, offline.user_token, **{name: value})
        assert status == 422, (name, value)
        assert problem["type"]


async def ask(gateway: Gateway, token: str, **changes: Any) -> tuple[int, Any]:
    body: dict[str, Any] = {
        "provider": "openai",
        "model": "gpt-5.5",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who are you?"}],
        "metadata": {"tenant_id": gateway.tenant, "run_id": "run-7"},
    }
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{gateway.url}/chat", json=body | changes, headers={"authorization": f"Bearer {token}"}
        ) as response,
    ):
        return response.status, await response.json()


async def open_run(gateway: Gateway) -> None:
    writer = Writer(gateway.log, scope=Scope.run(gateway.tenant, "session-7", "run-7"), source="orchestrator")
    fields: dict[str, Any] = {}
    for name, info in RunRequested.model_fields.items():
        if info.is_required():
            fields[name] = "codex" if "agent" in name or "runner" in name else "never" if "policy" in name else "x"
    await writer.append(RunRequested.model_validate(fields))


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_chat_asks_the_scripted_model_and_is_recorded_on_the_run(offline: Gateway, provider: str) -> None:
    await open_run(offline)
    status, answer = await ask(offline, offline.user_token, provider=provider)
    assert status == 200
    assert "scripted offline model" in answer["text"]
    assert answer["scripted"]
    assert answer["usage"]["input_tokens"] > 0
    assert answer["usage"]["output_tokens"] > 0
    page = await until(offline, 1)
    assert (page["entries"][0]["api"], page["entries"][0]["session_id"]) == ("chat", "session-7")


async def test_as_a_nats_user_with_its_own_subjects_only_it_records_projects_and_finds_runs(
    as_deployed: tuple[Gateway, EventLog],
) -> None:
    gateway, _ = as_deployed
    await open_run(gateway)
    await post(gateway, *RESPONSES)
    status, _ = await ask(gateway, gateway.user_token)
    assert status == 200
    page = await until(gateway, 2)
    assert sorted(entry["api"] for entry in page["entries"]) == ["chat", "responses"]


@pytest.mark.parametrize(("provider", "answer"), [("openai", CHAT), ("anthropic", MESSAGE)])
async def test_chat_asks_a_real_provider(
    keyed: Gateway, upstream: Upstream, provider: str, answer: dict[str, Any]
) -> None:
    await open_run(keyed)
    upstream.answers(json.dumps(answer).encode())
    status, reply = await ask(keyed, keyed.user_token, provider=provider)
    assert (status, reply["text"]) == (200, "Hello")
    assert reply["usage"]["output_tokens"] in (7, 30)
    sent = json.loads(upstream.seen[0].body)
    assert ("system" in sent) == (provider == "anthropic")
    upstream.answers(json.dumps({"error": {"message": f"no, {CANARY}"}}).encode(), status=400)
    status, problem = await ask(keyed, keyed.user_token, provider=provider)
    assert (status, problem["detail"]) == (502, "no, [redacted]")


async def test_chat_for_another_tenant_or_a_run_that_is_not_there_is_refused(offline: Gateway) -> None:
    await open_run(offline)
    status, _ = await ask(offline, offline.user_token, metadata={"tenant_id": "other", "run_id": "run-7"})
    assert status == 403
    stranger = Tokens(JWT_KEY).mint(tenant="other", user="u")
    status, _ = await ask(offline, stranger, metadata={"tenant_id": "other", "run_id": "run-7"})
    assert status == 404
    status, _ = await ask(offline, offline.user_token, metadata={"tenant_id": offline.tenant, "run_id": "run-*"})
    assert status == 422


async def test_an_event_that_is_delivered_twice_changes_nothing_and_a_rebuild_is_equal(
    database_url: str, event_log: EventLog, tenant: str
) -> None:
    database = Database(database_url, SCHEMA)
    await database.migrate(PACKAGE)
    assert await database.drift(PACKAGE, store.metadata) == []
    writer = Writer(event_log, scope=Scope.run(tenant, "s", "r"), source="llm-gateway.x")
    for number in range(5):
        record = CallRecord(
            caller=RunCaller(tenant, "s", "r"),
            api="responses",
            call_id=str(number),
            model="m",
            provider="openai",
            scripted=False,
            streamed=True,
            tokens=TokenCounts(input=number),
        )
        await writer.append(completed(record, 0.25))
    stored = [event async for event in event_log.replay(store.SUBJECT)]

    async def rows(*batches: Sequence[StoredEvent]) -> list[Any]:
        for batch in batches:
            async with database.transaction() as session:
                await store.apply(session, batch)
        async with database.session() as session:
            return [tuple(row) for row in await session.execute(select(store.calls).order_by(store.calls.c.stream_seq))]

    live = await rows(stored[:3], stored[1:], stored)
    assert len(live) == 5
    async with database.transaction() as session:
        await session.execute(store.calls.delete())
    assert await rows(stored) == live
    await database.downgrade(PACKAGE)
    await database.migrate(PACKAGE)
    await database.close()
