"""The envelope: who, what, when and why, around a payload of the catalogue."""

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import field_serializer

from runyard_events.catalogue import AnyPayload
from runyard_events.ids import event_id
from runyard_events.model import Wire
from runyard_events.subjects import Scope


class Envelope(Wire):
    """One event of the log.

    `v` counts shapes of the envelope, `version` those of the payload. `seq` counts from 1 without a
    gap per (aggregate, source): whoever reads can prove that nothing is missing. `kind` is the family.
    """

    v: Literal[1] = 1
    id: str
    tenant_id: str
    session_id: str | None = None
    run_id: str | None = None
    provider: str | None = None
    kind: str
    type: str
    version: int = 1
    at: datetime
    seq: int
    source: str
    causation_id: str | None = None
    correlation_id: str | None = None
    traceparent: str | None = None
    payload: Any

    @field_serializer("at")
    def _at(self, at: datetime) -> str:
        return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def stamp(
    payload: AnyPayload,
    *,
    scope: Scope,
    source: str,
    seq: int,
    provider: str | None = None,
    at: datetime | None = None,
    causation_id: str | None = None,
    correlation_id: str | None = None,
    traceparent: str | None = None,
) -> Envelope:
    """Puts a payload into its envelope; the id follows from scope, source and seq, so a retry is the same event."""
    return Envelope(
        id=event_id(scope.aggregate_id, source, seq),
        tenant_id=scope.tenant_id,
        session_id=scope.session_id,
        run_id=scope.run_id,
        provider=provider,
        kind=payload.FAMILY,
        type=payload.TYPE,
        version=payload.VERSION,
        at=_milliseconds(at or datetime.now(UTC)),
        seq=seq,
        source=source,
        causation_id=causation_id,
        correlation_id=correlation_id,
        traceparent=traceparent,
        payload=payload,
    )


def _milliseconds(at: datetime) -> datetime:
    return at.replace(microsecond=at.microsecond // 1000 * 1000)
