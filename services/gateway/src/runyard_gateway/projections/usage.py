"""What each run's model calls used and cost, by provider and model."""

from decimal import Decimal
from typing import Any

from sqlalchemy import Executable, exists, literal, select
from sqlalchemy.dialects.postgresql import insert

from runyard_events.catalogue import LlmCallCompleted
from runyard_events.stored import StoredEvent
from runyard_gateway.projections.rows import of_run, storable
from runyard_gateway.projections.tables import run_usage, runs

_KEY = ("run_id", "provider", "model")


def usage_rows(stored: StoredEvent) -> list[Executable]:
    """The statement that adds one call to its run's sums; counting tokens beforehand is no call."""
    call = stored.event.payload
    if not isinstance(call, LlmCallCompleted) or stored.address.run_id is None or call.api == "count_tokens":
        return []
    values = _values(call) | {
        "run_id": stored.address.run_id,
        "tenant_id": stored.address.tenant_id,
        "provider": storable(call.provider)[:100],
        "model": storable(call.model)[:200],
    }
    # For a run of this session, and for none that its container only says to have.
    row = select(*(literal(value, run_usage.c[name].type) for name, value in values.items()))
    known = row.where(exists().where(of_run(stored, runs, "id")))
    statement = insert(run_usage).from_select(list(values), known)
    sums = {name: run_usage.c[name] + statement.excluded[name] for name in values if name not in (*_KEY, "tenant_id")}
    return [statement.on_conflict_do_update(index_elements=_KEY, set_=sums)]


def _values(call: LlmCallCompleted) -> dict[str, Any]:
    ok = call.status == "ok"
    return {
        "calls": 1,
        "failed_calls": int(not ok),
        "unpriced_calls": int(ok and not call.priced),
        "scripted_calls": int(call.scripted),
        "input_tokens": call.input_tokens or 0,
        "output_tokens": call.output_tokens or 0,
        "cached_input_tokens": call.cached_input_tokens or 0,
        "cache_write_tokens": call.cache_write_tokens or 0,
        "reasoning_tokens": call.reasoning_tokens or 0,
        "cost_usd": Decimal(str(call.cost_usd or 0)),
    }
