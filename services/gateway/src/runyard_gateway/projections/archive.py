"""The archive projection: every event of a run as it came, and the messages of the conversation.

A projection of its own, in large batches: token deltas come by the thousand and nobody's write waits
for them.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from runyard_events.catalogue import AssistantFinal, UiMessageUser
from runyard_events.stored import StoredEvent
from runyard_gateway.projections.rows import storable
from runyard_gateway.projections.tables import messages

NAME = "gateway-archive"
SUBJECTS = ("ev.*.session.*.run.*.>",)
_MESSAGES = frozenset({UiMessageUser.TYPE, AssistantFinal.TYPE})

# One array per column: a batch of any size is one prepared statement and one round trip.
_INSERT = text(
    """
    insert into run_events (id, tenant_id, session_id, run_id, seq, at, source, event_type, raw_json)
    select * from unnest(
        cast(:id as bigint[]), cast(:tenant_id as text[]), cast(:session_id as text[]), cast(:run_id as text[]),
        cast(:seq as bigint[]), cast(:at as timestamptz[]), cast(:source as text[]), cast(:event_type as text[]),
        cast(:raw_json as json[]))
    on conflict (id) do nothing
    """
)


async def apply_archive(session: AsyncSession, batch: Sequence[StoredEvent]) -> None:
    """Writes the rows of a batch; an event of a type from the future is archived like any other."""
    decoded = [(stored, json.loads(stored.data)) for stored in batch if stored.address.run_id]
    if not decoded:
        return
    await session.execute(_INSERT, _columns(decoded))
    rows = [_message(stored) for stored, event in decoded if event["type"] in _MESSAGES]
    if rows:
        await session.execute(insert(messages).on_conflict_do_nothing(), rows)


def _columns(decoded: Sequence[tuple[StoredEvent, dict[str, Any]]]) -> dict[str, list[Any]]:
    addresses = [stored.address for stored, _ in decoded]
    return {
        "id": [stored.stream_seq for stored, _ in decoded],
        "tenant_id": [address.tenant_id for address in addresses],
        "session_id": [address.session_id for address in addresses],
        "run_id": [address.run_id for address in addresses],
        "seq": [int(event["seq"]) for _, event in decoded],
        "at": [datetime.fromisoformat(event["at"]) for _, event in decoded],
        "source": [storable(event["source"]) for _, event in decoded],
        "event_type": [storable(event["type"]) for _, event in decoded],
        "raw_json": [stored.data.decode("utf-8", "replace") for stored, _ in decoded],
    }


def _message(stored: StoredEvent) -> dict[str, Any]:
    payload = stored.event.payload
    is_answer = isinstance(payload, AssistantFinal)
    return {
        "id": stored.stream_seq,
        "tenant_id": stored.address.tenant_id,
        "session_id": stored.address.session_id,
        "run_id": stored.address.run_id,
        "role": "assistant" if is_answer else "user",
        "text": storable(payload.text),
        "format": payload.format if is_answer else "text",
        "interrupted": payload.interrupted if is_answer else False,
        "created_at": stored.event.at,
    }
