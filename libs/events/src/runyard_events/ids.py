"""Identifiers: random ones for new things, derived ones for whatever may be tried twice."""

from uuid import UUID, uuid4, uuid5

NAMESPACE = UUID("6f0d1d0e-3b5b-5c0e-9c55-6a1f3c1f7a51")


def new_id() -> str:
    """A fresh random identifier (UUID version 4)."""
    return str(uuid4())


def derived_id(*parts: str | int) -> str:
    """The one identifier that belongs to these parts (UUID version 5 over their joined text).

    The same parts give the same identifier on every machine, so whoever repeats an act names the
    same thing: an event written twice, a session asked for twice with one idempotency key.
    """
    return str(uuid5(NAMESPACE, ":".join(str(part) for part in parts)))


def event_id(aggregate_id: str, source: str, seq: int) -> str:
    """The identifier of the event number `seq` that `source` wrote about an aggregate."""
    return derived_id(aggregate_id, source, seq)
