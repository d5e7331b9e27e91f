"""The state projection: workspaces, sessions, runs, approvals, usage and containers as they are now."""

from collections.abc import Callable, Sequence

from sqlalchemy import Executable
from sqlalchemy.ext.asyncio import AsyncSession

from runyard_events.stored import StoredEvent
from runyard_gateway.projections.approvals import approval_rows
from runyard_gateway.projections.containers import container_rows, rules_rows
from runyard_gateway.projections.preview_containers import preview_container_rows
from runyard_gateway.projections.previews import preview_rows
from runyard_gateway.projections.runs import checkpoint_rows, run_rows
from runyard_gateway.projections.sessions import session_rows
from runyard_gateway.projections.usage import usage_rows
from runyard_gateway.projections.workspaces import workspace_rows

NAME = "gateway-state"
SUBJECTS = (
    "ev.*.*.*.lifecycle",
    "ev.*.session.*.run.*.lifecycle",
    "ev.*.session.*.run.*.llm",
    "ev.*.session.*.run.*.effect",
    "ev.*.session.*.sandbox",
)
"""What it reads: few events. The many (`ui`, `raw`, `telemetry`) it never sees."""


def is_read(subject: str, family: str) -> bool:
    """Whether the projection reads this subject: reads wait for what it says is read."""
    of_run = ".run." in subject
    match family:
        case "lifecycle":
            return True
        case "llm" | "effect":
            return of_run
        case "sandbox":
            return not of_run and ".session." in subject
        case _:
            return False


_ROWS: dict[tuple[str, str], tuple[Callable[[StoredEvent], list[Executable]], ...]] = {
    ("workspace", "lifecycle"): (workspace_rows,),
    ("session", "lifecycle"): (session_rows,),
    ("session", "sandbox"): (container_rows,),
    ("preview", "lifecycle"): (preview_container_rows, preview_rows),
    ("team", "lifecycle"): (rules_rows,),
    ("run", "lifecycle"): (run_rows, approval_rows),
    ("run", "llm"): (usage_rows,),
    ("run", "effect"): (checkpoint_rows,),
}


async def apply_state(session: AsyncSession, batch: Sequence[StoredEvent]) -> None:
    """Writes the rows of a batch, event by event, in the log's order."""
    for stored in batch:
        for rows in _ROWS.get((stored.address.aggregate, stored.family), ()):
            for statement in rows(stored):
                await session.execute(statement)
