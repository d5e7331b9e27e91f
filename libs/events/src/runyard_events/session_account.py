"""What the container of one session may do at NATS: this session's runs, from an account of its own.

Permissions alone do not hold a container: whoever may send a request may also say where its answer goes, and
JetStream answers with the sender's own bytes, into the queue of commands or onto another session's subject.
In an account of their own containers reach nothing but the imports below, and answers stay in that account.
See docs/adr/0012-containers-at-nats.md.
"""

from typing import Any

from runyard_events.connection import inbox_prefix
from runyard_events.leases import BUCKET as LEASES
from runyard_events.topology import COMMANDS, EVENTS, sandbox_durable

MAIN_ACCOUNT = "RUNYARD"
"""Streams, services and their users."""
SESSIONS_ACCOUNT = "SESSIONS"
"""Containers of sessions; no users of its own, they are let in one by one (auth callout)."""
LIVE = "live"
"""Before the subjects of events that are passed on as they come."""
READ = "session.read"
"""Before tenant and session: where pages of a session's events are asked for (see `session_log`)."""
READABLE = ("lifecycle", "ui", "raw")

_LEASE = f"$KV.{LEASES}.{{session}}.*"


def session_permissions(tenant_id: str, session_id: str) -> dict[str, Any]:
    """Publish and subscribe allow-lists of a session's container."""
    durable = sandbox_durable(session_id)
    return {
        "publish": {"allow": [*_requests(tenant_id, session_id), *_work(durable)]},
        "subscribe": {"allow": [f"{inbox_prefix(durable)}.>", f"{LIVE}.{_run(tenant_id, session_id)}.lifecycle"]},
    }


def exports() -> list[dict[str, Any]]:
    """What the main account offers to that of the sessions, in the form of the server's configuration."""
    only = {"accounts": [SESSIONS_ACCOUNT]}
    services = [{"service": one, **only} for one in _requests("*", "*")]
    # One request for work may be answered by several messages.
    work = [{"service": one, "response_type": "stream", **only} for one in _work("*")]
    return [*services, *work, {"stream": f"{_run('*', '*')}.lifecycle", **only}]


def imports() -> list[dict[str, Any]]:
    """The other side of `exports`."""
    services = (*_requests("*", "*"), *_work("*"))
    live = {"stream": {"account": MAIN_ACCOUNT, "subject": f"{_run('*', '*')}.lifecycle"}, "prefix": LIVE}
    return [*({"service": {"account": MAIN_ACCOUNT, "subject": one}} for one in services), live]


def read_subject(tenant_id: str, session_id: str) -> str:
    """Where a session's container asks for pages of its events."""
    return f"{READ}.{tenant_id}.{session_id}"


def _requests(tenant_id: str, session_id: str) -> list[str]:
    run, lease = _run(tenant_id, session_id), _LEASE.format(session=session_id)
    return [
        *(f"{run}.{family}" for family in READABLE),
        # With the subject behind it this gives the last event there and nothing else.
        *(f"$JS.API.DIRECT.GET.{EVENTS}.{run}.{family}" for family in READABLE),
        lease,
        f"$JS.API.DIRECT.GET.KV_{LEASES}.{lease}",
        read_subject(tenant_id, session_id),
    ]


def _work(durable: str) -> list[str]:
    return [f"$JS.API.CONSUMER.MSG.NEXT.{COMMANDS}.{durable}", f"$JS.ACK.{COMMANDS}.{durable}.>"]


def _run(tenant_id: str, session_id: str) -> str:
    return f"ev.{tenant_id}.session.{session_id}.run.*"
