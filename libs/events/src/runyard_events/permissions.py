"""What each service's NATS user may publish and subscribe to: its own subjects and nothing else.

A read of the log is the creation of an ordered consumer whose filter stands in the request's subject,
so the permission on that subject is the permission to read.
"""

from typing import Any

from runyard_events.connection import inbox_prefix
from runyard_events.leases import BUCKET as LEASES
from runyard_events.session_account import READ
from runyard_events.topology import COMMANDS, EVENTS, OUTPUTS

SERVICES = ("gateway", "orchestrator", "workspace", "runner-codex", "runner-claude", "runner-acp", "llm-gateway")


def permissions_for(service: str) -> dict[str, Any]:
    """Publish and subscribe allow-lists in the form of the server's configuration.

    Raises:
        KeyError: no such service.
    """
    publish = [*_COMMON, *_PUBLISH[service]]
    return {
        "publish": {"allow": publish},
        "subscribe": {"allow": [f"{inbox_prefix(service)}.>", *_SUBSCRIBE.get(service, ())]},
    }


def _read(*filters: str) -> list[str]:
    return [f"$JS.API.CONSUMER.CREATE.{EVENTS}.*.{one}" for one in filters]


def _last(*subjects: str) -> list[str]:
    return [f"$JS.API.DIRECT.GET.{EVENTS}.{one}" for one in subjects]


def _work(stream: str, durable: str) -> list[str]:
    """Everything that a worker does with a durable consumer made for it."""
    return [
        f"$JS.API.CONSUMER.INFO.{stream}.{durable}",
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}",
        f"$JS.ACK.{stream}.{durable}.>",
    ]


def _answer(*services: str) -> list[str]:
    """The inboxes that the replies to commands go to."""
    return [f"{inbox_prefix(service)}.>" for service in services]


_ANY_RUN = "ev.*.session.*.run.*"
_COMMON = [
    "$JS.API.INFO",
    f"$JS.API.STREAM.INFO.{EVENTS}",
    "$JS.FC.>",
    "dlq.>",
]
_LEASES = [
    f"$KV.{LEASES}.>",
    f"$JS.API.STREAM.INFO.KV_{LEASES}",
    f"$JS.API.DIRECT.GET.KV_{LEASES}.>",
    f"$JS.API.STREAM.MSG.GET.KV_{LEASES}",
]
_READ_LEASES = _LEASES[1:]
_OUTPUTS_READ = [
    f"$JS.API.STREAM.INFO.OBJ_{OUTPUTS}",
    f"$JS.API.DIRECT.GET.OBJ_{OUTPUTS}.>",
    f"$JS.API.STREAM.MSG.GET.OBJ_{OUTPUTS}",
    f"$JS.API.CONSUMER.CREATE.OBJ_{OUTPUTS}.>",
]
_OUTPUTS_WRITE = [f"$O.{OUTPUTS}.>", f"$JS.API.STREAM.PURGE.OBJ_{OUTPUTS}"]


def _runner(agent: str) -> list[str]:
    return [
        *(f"{_ANY_RUN}.{family}" for family in ("lifecycle", "ui", "raw")),
        *_read(f"{_ANY_RUN}.lifecycle", f"{_ANY_RUN}.>"),
        *_last(f"{_ANY_RUN}.lifecycle", f"{_ANY_RUN}.ui", f"{_ANY_RUN}.raw"),
        *_work(COMMANDS, f"runner-{agent}"),
        f"$JS.API.STREAM.INFO.{COMMANDS}",
        "cmd.orchestrator.>",
        *_LEASES,
        *_OUTPUTS_READ,
        *_OUTPUTS_WRITE,
    ]


AUTH_REQUESTS = "$SYS.REQ.USER.AUTH"
"""Where the server asks whether a container may come in."""
_SUBSCRIBE: dict[str, list[str]] = {"orchestrator": [AUTH_REQUESTS, f"{READ}.>"]}

_PUBLISH: dict[str, list[str]] = {
    "gateway": [
        "cmd.orchestrator.>",
        "cmd.workspace.>",
        *_read("ev.>"),
        # A reader of several subjects names none in its request; the gateway may read them all anyway.
        f"$JS.API.CONSUMER.CREATE.{EVENTS}.*",
        *_last("ev.>"),
        *_OUTPUTS_READ,
        # Of containers, which cannot be let at the bucket.
        *_OUTPUTS_WRITE,
    ],
    "orchestrator": [
        "ev.*.session.*.lifecycle",
        f"{_ANY_RUN}.lifecycle",
        f"{_ANY_RUN}.ui",
        "ev.*.preview.*.lifecycle",
        "ev.*.preview.*.telemetry",
        "ev.*.session.*.sandbox",
        "ev.*.session.*.telemetry",
        "ev.*.team.*.lifecycle",
        "cmd.workspace.>",
        "cmd.runner.>",
        "cmd.sandbox.>",
        # The consumers of sandboxes, one per session, come and go with them.
        f"$JS.API.CONSUMER.CREATE.{COMMANDS}.*.cmd.sandbox.>",
        f"$JS.API.CONSUMER.DELETE.{COMMANDS}.*",
        f"$JS.API.CONSUMER.NAMES.{COMMANDS}",
        f"$JS.API.STREAM.PURGE.{COMMANDS}",
        *_read("ev.*.team.*.lifecycle"),
        *_last("ev.*.team.*.lifecycle"),
        *_read("ev.*.preview.*.lifecycle"),
        *_last("ev.*.preview.*.lifecycle"),
        *_read("ev.*.session.>"),
        *_last("ev.*.session.>", "ev.*.workspace.*.lifecycle"),
        *_work(COMMANDS, "orchestrator"),
        *_work(EVENTS, "orchestrator-process"),
        f"$JS.API.STREAM.INFO.{COMMANDS}",
        *_READ_LEASES,
        *_answer("gateway", "runner-codex", "runner-claude", "runner-acp"),
        # Answers to the server, and to requests that came in from the containers' account.
        "$SYS._INBOX.>",
        "_R_.>",
    ],
    "workspace": [
        "ev.*.workspace.*.lifecycle",
        "ev.*.workspace.*.ui",
        "ev.*.session.*.effect",
        "ev.*.team.*.effect",
        f"{_ANY_RUN}.effect",
        *_read(
            "ev.*.workspace.*.*",
            "ev.*.session.*.effect",
            "ev.*.team.*.effect",
            f"{_ANY_RUN}.effect",
            f"{_ANY_RUN}.lifecycle",
        ),
        *_last(
            "ev.*.workspace.>",
            "ev.*.session.*.effect",
            "ev.*.team.*.effect",
            f"{_ANY_RUN}.effect",
            f"{_ANY_RUN}.lifecycle",
        ),
        *_work(COMMANDS, "workspace"),
        *_work(EVENTS, "workspace-effects"),
        f"$JS.API.STREAM.INFO.{COMMANDS}",
        *_answer("gateway", "orchestrator"),
    ],
    "runner-codex": _runner("codex"),
    "runner-claude": _runner("claude"),
    "runner-acp": _runner("acp"),
    "llm-gateway": [
        f"{_ANY_RUN}.llm",
        *_read(f"{_ANY_RUN}.llm", f"{_ANY_RUN}.lifecycle"),
        *_last(f"{_ANY_RUN}.llm", f"{_ANY_RUN}.lifecycle", "ev.*.session.*.lifecycle", "ev.*.session.*.sandbox"),
    ],
}
