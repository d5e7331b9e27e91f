"""How the tables of sandboxes and of teams' rules follow the log."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from runyard_events import StoredEvent
from runyard_events.catalogue import SandboxRulesChanged
from runyard_orchestrator.domain import sandbox as sandbox_domain
from runyard_orchestrator.domain.sandbox import Sandbox
from runyard_orchestrator.store import rows, tables
from runyard_orchestrator.store.following import by_key, fact_of, load, write


async def apply_sandboxes(db: AsyncSession, batch: Sequence[StoredEvent]) -> None:
    """Rows of `sandboxes` and `container_environments` from `ev.*.session.*.sandbox`."""
    facts = by_key(batch, lambda one: (one.address.tenant_id, one.address.aggregate_id))
    known = await load(db, tables.sandboxes, ("tenant_id", "session_id"), facts)
    written: list[dict[str, Any]] = []
    listed: list[dict[str, Any]] = []
    for key, about in facts.items():
        sandbox = rows.sandbox_of(known[key]) if key in known else Sandbox()
        for stored in about:
            fact = fact_of(stored)
            if fact is None:
                # Its place counts all the same: the next append must expect it there.
                sandbox = replace(sandbox, stream_seq=max(sandbox.stream_seq, stored.stream_seq))
            else:
                sandbox = sandbox_domain.evolve(sandbox, fact)
        written.append({"tenant_id": key[0], "session_id": key[1], **rows.sandbox_values(sandbox)})
        listed.append(rows.environment_values(key[0], key[1], sandbox))
    await write(db, tables.sandboxes, written)
    await write(db, tables.container_environments, listed)


async def apply_rules(db: AsyncSession, batch: Sequence[StoredEvent]) -> None:
    """Rows of `team_rules` from `ev.*.team.*.lifecycle`."""
    facts = by_key(batch, lambda one: (one.address.tenant_id,))
    written: list[dict[str, Any]] = []
    for key, about in facts.items():
        for stored in about:
            fact = fact_of(stored)
            if fact is None or not isinstance(fact.payload, SandboxRulesChanged):
                continue
            row = {
                "tenant_id": key[0],
                "rules": fact.payload.rules.model_dump(mode="json"),
                "changed_by": fact.payload.changed_by,
                "changed_at": fact.at,
                "stream_seq": fact.stream_seq,
                "own_seq": fact.source_seq,
            }
            written = [*(one for one in written if one["tenant_id"] != key[0]), row]
    await write(db, tables.team_rules, written)
