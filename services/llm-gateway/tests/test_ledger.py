"""No call is lost: not while the log is away, not at a stop, not by redelivery."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from genai_prices.data_snapshot import get_snapshot

from runyard_events import Conflict, EventLog, LogUnavailable
from runyard_events.log import Append
from runyard_llm_gateway.access import RunCaller
from runyard_llm_gateway.domain import CallRecord
from runyard_llm_gateway.ledger import Ledger, LedgerBehind, Numbers
from runyard_llm_gateway.pricing import PriceList
from runyard_llm_gateway.usage import Tokens


def record(tenant: str, number: int, **changes: Any) -> CallRecord:
    values: dict[str, Any] = {
        "caller": RunCaller(tenant, "s", "r"),
        "api": "responses",
        "call_id": f"call-{number}",
        "model": "m",
        "provider": "scripted",
        "scripted": True,
        "streamed": True,
        "tokens": Tokens(input=number, output=1),
    }
    return CallRecord(**values | changes)


async def read(log: EventLog, tenant: str) -> list[Any]:
    return [stored.event async for stored in log.replay(f"ev.{tenant}.session.*.run.*.llm")]


def ledger(capacity: int = 1000, wait_seconds: float = 5) -> Ledger:
    return Ledger(instance="test", capacity=capacity, wait_seconds=wait_seconds)


async def recorded(book: Ledger, tenant: str, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        await book.place()
        book.record(record(tenant, number))


async def test_calls_stand_in_the_log_in_their_order_with_contiguous_numbers(event_log: EventLog, tenant: str) -> None:
    book = ledger()
    task = asyncio.create_task(book.run(event_log))
    await recorded(book, tenant, 150)
    assert await book.flush(10) == 0
    task.cancel()
    events = await read(event_log, tenant)
    assert [event.seq for event in events] == list(range(1, 151))
    assert [event.payload.call_id for event in events] == [f"call-{n}" for n in range(150)]
    assert {event.payload.cost_usd for event in events} == {0.0}


class AwayLog:
    """A log that is away until told otherwise; each answer that it gives it loses once."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.here = asyncio.Event()
        self.asked = asyncio.Event()
        self.lost = False

    async def append_many(self, appends: list[Append]) -> int:
        self.asked.set()
        if not self.here.is_set():
            await self.here.wait()
            raise LogUnavailable("away")
        sequence = await self.log.append_many(appends)
        if not self.lost:
            self.lost = True
            raise LogUnavailable("the answer was lost")
        return sequence


async def test_calls_wait_when_the_memory_for_an_absent_log_is_full_and_none_is_lost(
    event_log: EventLog, tenant: str
) -> None:
    away = AwayLog(event_log)
    book = ledger(capacity=20, wait_seconds=0.05)
    task = asyncio.create_task(book.run(away))  # pyright: ignore[reportArgumentType]
    await recorded(book, tenant, 20)
    await away.asked.wait()
    with pytest.raises(LedgerBehind):
        await book.place()
    away.here.set()
    assert await book.flush(10) == 0
    await recorded(book, tenant, 5, start=20)
    assert await book.flush(10) == 0
    task.cancel()
    events = await read(event_log, tenant)
    assert [event.seq for event in events] == list(range(1, 26))


class ContestedLog:
    """A log on which another writer has written since: what it takes is refused as a batch."""

    def __init__(self, log: EventLog) -> None:
        self.log = log

    async def append_many(self, appends: list[Append]) -> int:
        await self.log.append_many(appends)
        raise Conflict(appends[0].subject, None, None)

    async def append(self, append: Append) -> int:
        return await self.log.append(append)


async def test_a_batch_that_stands_already_is_settled_one_by_one_without_doubles(
    event_log: EventLog, tenant: str
) -> None:
    book = ledger(capacity=10)
    task = asyncio.create_task(book.run(ContestedLog(event_log)))  # pyright: ignore[reportArgumentType]
    await recorded(book, tenant, 30)
    assert await book.flush(10) == 0
    task.cancel()
    assert [event.seq for event in await read(event_log, tenant)] == list(range(1, 31))


async def test_what_cannot_be_written_at_a_stop_is_logged_whole(
    event_log: EventLog, tenant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    book = ledger()
    task = asyncio.create_task(book.run(AwayLog(event_log)))  # pyright: ignore[reportArgumentType]
    await recorded(book, tenant, 70)
    assert await book.flush(0.05) == 70
    task.cancel()
    printed = capsys.readouterr().out
    assert printed.count("ledger.unwritten") == 70
    assert "call-69" in printed


def test_a_run_that_was_forgotten_comes_back_under_a_new_source() -> None:
    numbers = Numbers("i", kept=2)
    assert [numbers.next(run) for run in ("a", "a", "b")] == [
        ("llm-gateway.i", 1),
        ("llm-gateway.i", 2),
        ("llm-gateway.i", 1),
    ]
    numbers.next("c")  # forgets a
    assert numbers.next("a") == ("llm-gateway.i.1", 1)  # forgets b
    assert numbers.next("b") == ("llm-gateway.i.2", 1)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-5.5"),
        ("openai", "gpt-5.1-codex"),
        ("openai", "gpt-4o-mini"),
        ("anthropic", "claude-sonnet-5-5"),
        ("anthropic", "claude-opus-5-5"),
        ("anthropic", "claude-haiku-4-5-20251001"),
    ],
)
async def test_the_cost_is_the_price_lists_own_rates_times_the_tokens(provider: str, model: str) -> None:
    prices = PriceList()
    await prices.load()
    used = Tokens(input=10_000, output=500, cached=6_000, cache_write=1_000 if provider == "anthropic" else None)
    cost = prices.cost(provider, model, used)
    _, info = get_snapshot().find_provider_model(model, None, provider, None)
    rates = info.get_prices(datetime.now(UTC))

    def rate(name: str) -> Decimal:
        value = getattr(rates, name)
        return Decimal(value.base if hasattr(value, "base") else value)

    written = Decimal(used.cache_write or 0)
    expected = (
        (10_000 - 6_000 - written) * rate("input_mtok")
        + 6_000 * rate("cache_read_mtok")
        + (written * rate("cache_write_mtok") if written else 0)
        + 500 * rate("output_mtok")
    ) / 1_000_000
    assert cost == pytest.approx(float(expected))


async def test_an_unknown_model_has_no_price() -> None:
    prices = PriceList()
    await prices.load()
    assert prices.cost("openai", "my-own-model-7b", Tokens(input=1, output=1)) is None
