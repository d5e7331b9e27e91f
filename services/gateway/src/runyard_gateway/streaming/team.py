"""What all agents of a team do, as one stream: what they say, and how they are."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runyard_events.subjects import parse
from runyard_gateway.streaming.delivery import Delivery, said
from runyard_gateway.streaming.source import Place

OUTPUT = frozenset(
    {"ui.message.assistant.delta", "ui.message.assistant.final", "ui.tool.call", "ui.tool.result", "ui.error"}
)
"""What an agent says and does, as far as it is worth showing beside others."""

STATUS: Mapping[str, str] = {
    "run.requested": "queued",
    "run.dispatched": "running",
    "run.started": "running",
    "run.resumed": "running",
    "run.approval_requested": "waiting",
    "run.approval_resolved": "running",
    "run.completed": "completed",
    "run.error": "error",
    "run.cancelled": "cancelled",
    "sandbox.requested": "creating",
    "sandbox.creating": "creating",
    "sandbox.running": "running",
    "sandbox.paused": "paused",
    "sandbox.stopped": "stopped",
    "sandbox.error": "error",
    "sandbox.deleted": "deleted",
}
_FAMILIES = frozenset({"ui", "lifecycle", "sandbox"})


@dataclass(frozen=True, slots=True)
class TeamPlace(Place):
    """All sessions of a team, from a sequence on."""

    @property
    def subjects(self) -> Sequence[str]:
        """Those of runs and of containers; nothing of workspaces."""
        session = f"{self.topic}.session.*"
        return (f"{session}.run.*.ui", f"{session}.run.*.lifecycle", f"{session}.sandbox")


def team_place(tenant: str, start: int) -> TeamPlace:
    """The place of a team's stream."""
    return TeamPlace(topic=f"ev.{tenant}", start=start, families=_FAMILIES)


def team_frame(one: Delivery) -> str | None:
    """`agent-output` or `agent-status` with the event; None for what is neither."""
    event, address = said(one), parse(one.subject)
    kind = str(event.get("type"))
    known = {
        "id": one.seq,
        "team_id": address.tenant_id,
        "session_id": address.session_id,
        "run_id": address.run_id,
    }
    if kind in OUTPUT:
        return json.dumps({"type": "agent-output", **known, "event": event})
    if kind in STATUS:
        of = "container" if one.family == "sandbox" else "run"
        return json.dumps({"type": "agent-status", **known, "of": of, "status": STATUS[kind], "event": event})
    return None
