"""Opening a stream: where it resumes, what it shows, and what to say when the log no longer goes back so far."""

import json
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Query
from starlette.responses import Response

from runyard_chassis import Invalid
from runyard_events.catalogue import FAMILIES
from runyard_gateway.api.fields import MAX_SEQ
from runyard_gateway.gateway import Gateway
from runyard_gateway.streaming.delivery import TELEMETRY
from runyard_gateway.streaming.source import Place
from runyard_gateway.streaming.sse import EventStream

_EXAMPLE = (
    ": connected\n\n"
    "id: 1042\n"
    'data: {"v":1,"runId":"...","kind":"ui","type":"ui.message.assistant.delta","seq":7,'
    '"payload":{"textDelta":"Hello"}}\n\n'
)

STREAM: dict[str, Any] = {
    "response_class": Response,
    "responses": {
        200: {
            "description": (
                "Server-sent events. `id` is the event's place in the log: send the last one as "
                "`Last-Event-ID` to go on behind it. A stream of a run or an import closes after its last "
                "event; any other way of ending means: come back with the last id."
            ),
            "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}},
        }
    },
}
"""What OpenAPI says about a stream."""


@dataclass(frozen=True, slots=True)
class Resume:
    """What a client said about its place: the first sequence that it wants, and the families."""

    wanted: int | None
    families: frozenset[str] | None

    def start(self, first_seq: int) -> int:
        """Where to begin, given where the aggregate begins."""
        return max(first_seq, self.wanted or 0)


async def resume(
    from_seq: Annotated[
        int | None,
        Query(alias="from", ge=0, le=MAX_SEQ, description="First stream sequence wanted."),
    ] = None,
    kinds: Annotated[
        str | None,
        Query(max_length=100, description="Only these families, as `ui,lifecycle`.", examples=["ui,lifecycle"]),
    ] = None,
    last_event_id: Annotated[
        str | None, Header(max_length=30, description="The last id seen: the stream goes on behind it.")
    ] = None,
    *,
    telemetry: Annotated[
        bool, Query(description="Also what a container uses and prints; left out otherwise, unless `kinds` names it.")
    ] = False,
) -> Resume:
    """A client's place, from `Last-Event-ID` and the query; the later one counts.

    Raises:
        Invalid: an id that no stream has given, or an unknown family.
    """
    wanted = from_seq
    if last_event_id:
        wanted = max(wanted or 0, _event_id(last_event_id) + 1)
    families = _families(kinds)
    if telemetry:
        families = (families or frozenset(FAMILIES)) | {TELEMETRY}
    return Resume(wanted, families)


ResumeDep = Annotated[Resume, Depends(resume)]


async def open_stream(gateway: Gateway, place: Place, resuming: Resume, first_seq: int) -> Response:
    """The stream of a place.

    Raises:
        Invalid: the client claims to have seen what the log does not have.
    """
    wanted = resuming.wanted
    if wanted is None or wanted <= first_seq:
        ended, opening = False, await _gap(gateway, first_seq)
    else:
        extent = await gateway.extent.now(reaching=wanted - 1)
        if wanted - 1 > extent.last:
            raise Invalid("The log has no such event yet.", type="unknown-event-id")
        ended, opening = await gateway.source.has_ended(place), await _gap(gateway, place.start)
    return EventStream(gateway.source.subscribe(place), opening=opening, only_history=ended)


async def _gap(gateway: Gateway, wanted: int) -> bytes:
    """What to say first when events between the wanted one and the log's first are gone."""
    first = (await gateway.extent.now()).first
    if wanted >= first:
        return b""
    body = json.dumps({"wanted": wanted, "first": first})
    return f"event: gap\ndata: {body}\n\n".encode()


def _event_id(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) >= MAX_SEQ:
        raise Invalid("Last-Event-ID is the number of an event of this stream.", type="unknown-event-id")
    return int(text)


def _families(kinds: str | None) -> frozenset[str] | None:
    if not kinds:
        return None
    wanted = frozenset(kind.strip() for kind in kinds.split(","))
    unknown = wanted - frozenset(FAMILIES)
    if unknown:
        raise Invalid(f"`kinds` are some of {', '.join(FAMILIES)}.", type="unknown-kind")
    return wanted
