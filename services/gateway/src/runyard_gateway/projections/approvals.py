"""Rows of what agents asked and people answered."""

import json
from typing import Any

from sqlalchemy import Executable, exists, literal, select
from sqlalchemy.dialects.postgresql import insert

from runyard_events.catalogue import RunApprovalRequested, RunApprovalResolved
from runyard_events.stored import StoredEvent
from runyard_gateway.projections.rows import of_run, storable_values
from runyard_gateway.projections.tables import approvals, runs


def approval_rows(stored: StoredEvent) -> list[Executable]:
    """The statements that an approval's event amounts to; the first answer is the one that counts."""
    event, run_id = stored.event, stored.address.run_id
    match event.payload:
        case RunApprovalRequested() as asked:
            values = {
                "run_id": run_id,
                "id": asked.approval_id,
                "tenant_id": stored.address.tenant_id,
                "session_id": stored.address.session_id,
                "kind": asked.ask_kind,
                "title": asked.title,
                "detail": _json(asked.detail),
                "options": list(asked.options),
                "questions": _json(asked.questions),
                "status": "open",
                "requested_at": event.at,
                "requested_seq": stored.stream_seq,
            }
            return [_insert(stored, storable_values(values))]
        case RunApprovalResolved() as answer:
            values = {
                "status": "resolved",
                "decision": answer.decision,
                "answers": None if answer.answers is None else _json(answer.answers),
                "message": answer.message,
                "resolved_by": answer.resolved_by,
                "resolved_at": event.at,
            }
            unanswered = (
                of_run(stored, approvals) & (approvals.c.id == answer.approval_id) & (approvals.c.status == "open")
            )
            return [approvals.update().where(unanswered).values(storable_values(values))]
        case _:
            return []


def _insert(stored: StoredEvent, values: dict[str, Any]) -> Executable:
    """For a run of this session, and for none that its container only says to have."""
    row = select(*(literal(value, approvals.c[name].type) for name, value in values.items()))
    known = row.where(exists().where(of_run(stored, runs, "id")))
    return insert(approvals).from_select(list(values), known).on_conflict_do_nothing()


def _json(value: Any) -> Any:
    """JSON whose strings all fit into a text, should somebody take them out of it with `->>`."""
    return json.loads(json.dumps(value).replace("\\u0000", "\\ufffd"))
